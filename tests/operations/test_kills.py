"""What dies under a run on a whole stack, and what becomes of the run: the work that was committed is never lost.

`python -m pytest tests/operations/test_kills.py -rP` prints the table of docs/operations.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.operations.conftest import Deployed, Place
from tests.operations.server import until
from trunkline.clusters import Cluster
from trunkline.maintenance.verify import verify
from trunkline.specs import ClusterSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HALFWAY = 15.0  # percent of the images, when it dies


@dataclass(frozen=True)
class Death:
    """Services that are killed in the middle of a run and come back, and whether the run itself is expected to complete."""

    services: tuple[str, ...]
    survives: bool
    away_seconds: float = 0.0

    def __str__(self) -> str:
        return " and ".join(self.services)


DEATHS = [
    Death(("dask-worker-1",), survives=True),
    Death(("dask-worker-1", "dask-worker-2", "dask-scheduler"), survives=True),
    Death(("prefect-server",), survives=True, away_seconds=10.0),
    Death(("postgres",), survives=True, away_seconds=5.0),
    Death(("prefect-worker",), survives=False),
]


@pytest.mark.parametrize("death", DEATHS, ids=str)
def test_a_run_outlives_what_can_be_outlived_and_is_resumed_otherwise(in_stack: Deployed, many: Place, death: Death) -> None:
    server, stack = in_stack.server, in_stack.stack
    run = server.start("pipeline", spec=many.spec)
    until(lambda: _share(server.progress, run), lambda share: share >= HALFWAY, "the middle of the extraction")
    killed_at = time.monotonic()
    committed = len(many.features().rows())
    for name in death.services:
        stack.kill(name)
    if death.away_seconds:
        until(time.monotonic, lambda now: now - killed_at >= death.away_seconds, "the time that it stays away")
    stack.up()  # what an administrator, or Compose, does
    if death.survives:
        ended = server.wait(run, "COMPLETED")
    else:
        ended = _resumed(in_stack, many, run)
    rows = len(many.features().rows())
    assert rows == 1797
    assert verify(many.store.uri, Cluster(ClusterSpec(kind="inline"))).findings == ()
    sys.stdout.write(f"| {death} | {committed} of 1,797 committed | {ended['name']} | {time.monotonic() - killed_at:.0f} s |\n")


def test_a_run_whose_process_never_began_is_marked_crashed(in_stack: Deployed, place: Place) -> None:
    server, stack = in_stack.server, in_stack.stack
    stack.kill("prefect-worker")
    try:
        run = server.start("verify", store=place.store.uri)
        server.set_state(run, "PENDING", "Pending")  # as a worker does before it starts the process
        assert "Nothing was heard" in server.wait(run, "CRASHED")["state"]["message"]
    finally:
        stack.up()


def _resumed(deployed: Deployed, place: Place, run: str) -> dict[str, object]:
    """The driver died with its Prefect worker: starting the same run again goes on where it stopped."""
    before = len(place.features().rows())
    again = deployed.server.completed(deployed.server.start("pipeline", spec=place.spec))
    reused = int(str(again["name"]).split(": ")[1].split(" ")[0].replace(",", ""))
    assert reused <= 1797 - before, "what was committed is not extracted again"
    dead = deployed.server.wait(run, "CRASHED")
    assert "Nothing was heard of this run's process for 90 s" in dead["state"]["message"]
    return again


def _share(progress: Callable[[str], float], run: str) -> float:
    return progress(run)
