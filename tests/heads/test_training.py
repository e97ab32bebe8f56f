"""Blocks of training rows: a pass on Dask workers is a pass of the serial loop, in bounded memory, whatever dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.heads.made import DIGITS, PIXELS, TRAINING, data_of
from trunkline.clusters import Cluster
from trunkline.fan_out import Executor
from trunkline.heads import training
from trunkline.heads.linear import fit_linear
from trunkline.heads.passes import Block
from trunkline.heads.protocol import Work
from trunkline.heads.readers import InMemory
from trunkline.heads.ridge import fit_ridge
from trunkline.heads.training import TrainingData
from trunkline.specs import ClusterSpec, RidgeSpec, SoftmaxSpec, SvmSpec


def sums(block: Block, power: int) -> tuple[int, np.ndarray, np.ndarray]:
    return len(block.x), (block.x.astype(np.float64) ** power).sum(axis=0), np.bincount(block.truth, minlength=10)


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with Cluster(ClusterSpec(kind="local", workers=2)) as cluster:
        yield cluster.executor


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BLOCK_BYTES", 64 * 64 * 4)


def test_a_pass_sums_over_all_rows():
    count, total, classes = data_of().reduce(sums, 2)
    assert count == TRAINING
    np.testing.assert_allclose(total, (PIXELS[:TRAINING].astype(np.float64) ** 2).sum(axis=0))
    np.testing.assert_array_equal(classes, np.bincount(DIGITS[:TRAINING]))


def test_workers_give_the_same_sums_bit_for_bit(workers):
    serial, shared = data_of().standardised(), data_of(executor=workers).standardised()
    for each in (1, 2, 3):
        for one, other in zip(serial.reduce(sums, each), shared.reduce(sums, each), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("spec", [SoftmaxSpec(C=(0.001, 0.01)), SvmSpec(C=0.001), RidgeSpec()], ids=lambda spec: spec.kind)
def test_heads_fitted_by_workers_are_those_of_the_serial_loop(workers, spec):
    fit = fit_ridge if isinstance(spec, RidgeSpec) else fit_linear
    one, other = (fit(spec, data, Work(data.executor)) for data in (data_of(), data_of(executor=workers)))
    np.testing.assert_allclose(other.outputs(PIXELS), one.outputs(PIXELS), atol=1e-6)
    assert other.chosen == one.chosen


def die_once(block: Block, marker: str) -> tuple[int]:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return (len(block.x),)
    os.kill(os.getpid(), signal.SIGKILL)
    return (0,)


def test_a_worker_that_dies_costs_a_pass_nothing(tmp_path: Path):
    with Cluster(ClusterSpec(kind="local", workers=2)) as cluster:
        data = data_of(executor=cluster.executor)
        assert data.reduce(sums, 1)[0] == TRAINING
        assert data.reduce(die_once, str(tmp_path / "died")) == (TRAINING,)
        assert data.reduce(sums, 1)[0] == TRAINING
    assert (tmp_path / "died").exists()


class Counting(InMemory):
    reads = 0

    def read(self, rows, columns=None):
        type(self).reads += 1
        return super().read(rows, columns)


@pytest.mark.parametrize(("held", "reads"), [(10**9, 10), (64 * 64 * 4 * 4, 10 + 6 + 6), (0, 30)])
def test_blocks_are_held_between_passes_as_far_as_they_fit(held, reads):
    data = replace(data_of(), reader=Counting(PIXELS), held_bytes=held)
    data.release()
    Counting.reads = 0
    for _ in range(3):
        data.reduce(sums, 1)
    assert Counting.reads == reads
    data.release()
    data.reduce(sums, 1)
    assert Counting.reads == reads + 10


def test_other_rows_or_another_standard_push_out_what_is_held():
    data = data_of()
    raw = data.reduce(sums, 1)[1]
    standardised = data.standardised().reduce(sums, 1)[1]
    np.testing.assert_allclose(standardised, 0.0, atol=1e-2)
    np.testing.assert_array_equal(data.reduce(sums, 1)[1], raw)
    assert data.subset(np.arange(100)).reduce(sums, 1)[0] == 100


def test_standardised_features_have_mean_0_and_deviation_1_and_constants_are_0():
    x = data_of().standardised().whole()
    constant = PIXELS[:TRAINING].std(axis=0) == 0
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(x[:, ~constant].std(axis=0), 1.0, atol=1e-4)
    np.testing.assert_array_equal(x[:, constant], 0.0)


def test_a_large_constant_offset_does_no_harm():
    x = PIXELS[:200] + np.float32(4096.0)
    data = TrainingData.in_memory(x, data_of().target, DIGITS[:200])
    standard = training.standard_of(data)
    np.testing.assert_allclose(
        standard.deviation, np.where(x.std(axis=0) > 0, x.astype(np.float64).std(axis=0), 1.0), rtol=1e-4
    )


def test_a_sample_has_all_classes_in_proportion():
    some = data_of(rows=np.arange(1500)).sampled(200 * 64 * 4, seed=0)
    assert 200 <= len(some) <= 210
    counts, whole = np.bincount(some.truth), np.bincount(DIGITS[:1500])
    assert (np.abs(counts - whole * 200 / 1500) <= 1).all()
    assert (np.diff(some.rows) > 0).all()
    assert data_of().sampled(10**9, seed=0).rows is not None
    assert len(data_of().sampled(10**9, seed=0)) == TRAINING


def test_spread_blocks_are_whole_and_cover_the_range():
    data = data_of()
    some = data.spread(200)
    assert 200 <= len(some) < TRAINING
    assert (some.rows[0], some.rows[-1]) == (0, TRAINING - 1)
    assert data.spread(10**6) is data
