"""Whatever is done to a store, in whatever order, and wherever it dies: it holds what a dictionary says.

The machine is in `tests/model/`: scans, runs, deaths at any change of the disk, damage, repair, retry, gc, purge, and readers of now, of
older batches and of snapshots that they keep open.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import StoreMachine

QUICK = settings(
    max_examples=8, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
LONG = settings(QUICK, max_examples=200, stateful_step_count=40, derandomize=False, database=None)


class InZarr(StoreMachine):
    format = "zarr"


class InHdf5(StoreMachine):
    format = "hdf5"


@pytest.mark.parametrize("machine", [InZarr, InHdf5])
def test_a_store_and_a_dictionary_stay_the_same(machine: type[StoreMachine]):
    run_state_machine_as_test(machine, settings=QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [InZarr, InHdf5])
def test_they_stay_the_same_over_many_more_operations(machine: type[StoreMachine]):
    """TRUNKLINE_SEED gives other operations."""
    run_state_machine_as_test(seed(int(os.environ.get("TRUNKLINE_SEED", "0")))(machine), settings=LONG)
