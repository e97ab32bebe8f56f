"""What every executor does, on the serial loop and on real Dask workers; and which executor a spec gets."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed.comm import CommClosedError

from tests.kills.started import Log, killed, scheduler_and_workers
from trunkline import fan_out
from trunkline.clusters import Cluster
from trunkline.errors import RunError
from trunkline.fan_out import (
    IN_FLIGHT_PER_SLOT,
    INFRASTRUCTURE_RETRIES,
    SHARDS_PER_WORKER_AT_ONCE,
    DaskExecutor,
    Executor,
    SerialExecutor,
)
from trunkline.specs import ClusterSpec

WORKERS = 2


@pytest.fixture(scope="module")
def dask_executor() -> Iterator[Executor]:
    """Two real workers; a task whose worker dies is given up by the scheduler at once, so that it is ours to retry."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        Cluster(ClusterSpec(kind="local", workers=WORKERS)) as cluster,
    ):
        yield cluster.executor


@pytest.fixture(params=["serial", "dask"])
def executor(request: pytest.FixtureRequest) -> Executor:
    return SerialExecutor() if request.param == "serial" else request.getfixturevalue("dask_executor")


def square(job: int, item: int) -> tuple[int, int]:
    return item, job + item * item


def fails_on_three(_: object, item: int) -> int:
    if item == 3:
        raise ValueError("three is not welcome")
    return item


def counted(folder: str, item: int) -> int:
    """The number of this attempt at an item."""
    for attempt in range(1, 100):
        try:
            os.mkdir(f"{folder}/{item}-{attempt}")  # noqa: PTH102
        except FileExistsError:
            continue
        return attempt
    raise AssertionError("too many attempts")


def dies_at_first_with_three(folder: str, item: int) -> tuple[int, int]:
    attempt = counted(folder, item)
    if item == 3 and attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item, item * item


def dies(folder: str, item: int) -> None:
    counted(folder, item)
    os.kill(os.getpid(), signal.SIGKILL)


def process_id(_: object, __: int) -> int:
    return os.getpid()


def test_the_same_receipts(executor: Executor):
    assert sorted(executor.map(square, 10, range(30))) == [(item, 10 + item * item) for item in range(30)]


def test_nothing_to_do(executor: Executor):
    assert list(executor.map(square, 10, [])) == []


def test_it_can_be_used_again(executor: Executor):
    for _ in range(2):
        assert len(list(executor.map(square, 1, [5]))) == 1


def test_the_first_error_ends_it(executor: Executor):
    seen = []
    with pytest.raises(ValueError, match="three is not welcome"):
        seen.extend(executor.map(fails_on_three, None, range(1000)))
    assert len(seen) < 1000
    assert list(executor.map(fails_on_three, None, [4])) == [4]  # and it still works


def test_few_are_in_flight(executor: Executor):
    """Work is taken from the plan as receipts come back, never all at once."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield number

    most = WORKERS * SHARDS_PER_WORKER_AT_ONCE * IN_FLIGHT_PER_SLOT
    for back, _ in enumerate(executor.map(square, 0, items()), 1):
        assert taken - back <= most
    assert taken == 200


def test_a_caller_that_stops_leaves_nothing_running(dask_executor: DaskExecutor):
    receipts = dask_executor.map(square, 0, range(100))
    next(receipts)
    receipts.close()
    assert len(list(dask_executor.map(square, 0, range(5)))) == 5


def test_the_serial_loop_works_here_and_in_order():
    executor = SerialExecutor()
    assert [item for item, _ in executor.map(square, 0, [3, 1, 2])] == [3, 1, 2]
    assert set(executor.map(process_id, None, range(3))) == {os.getpid()}
    assert executor.threads == len(os.sched_getaffinity(0))


def test_dask_works_in_other_processes(dask_executor: DaskExecutor):
    seen = set(dask_executor.map(process_id, None, range(50)))
    assert os.getpid() not in seen
    assert 1 <= len(seen) <= WORKERS


def test_a_shard_whose_worker_is_killed_is_tried_again(dask_executor: DaskExecutor, tmp_path: Path, caplog):
    receipts = list(dask_executor.map(dies_at_first_with_three, str(tmp_path), range(12)))
    assert sorted(receipts) == [(item, item * item) for item in range(12)]  # each once
    assert len(list(tmp_path.glob("3-*"))) == 2
    assert "3 was lost with its worker; trying again (1 of 2)" in caplog.text


def test_a_shard_that_kills_its_worker_each_time_ends_the_run(dask_executor: DaskExecutor, tmp_path: Path):
    with pytest.raises(RunError, match=r"7 was lost 3 times with its worker, probably out of memory.*fewer workers"):
        list(dask_executor.map(dies, str(tmp_path), [7]))
    assert len(list(tmp_path.glob("7-*"))) == INFRASTRUCTURE_RETRIES + 1


def takes_too_much(_: object, item: int) -> None:
    raise MemoryError(f"{item} is too much")


def test_a_worker_without_memory_says_what_helps(dask_executor: DaskExecutor):
    with pytest.raises(
        RunError, match=r"out of memory with 7 \(7 is too much\)\. Start the same command again with fewer workers"
    ):
        list(dask_executor.map(takes_too_much, None, [7]))


def lasts(_: object, item: int) -> int:
    time.sleep(60)
    return item


def test_a_scheduler_that_is_killed_ends_the_run_in_words(tmp_path: Path):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "500ms"}),
        scheduler_and_workers(tmp_path, Log(tmp_path / "log"), 1) as (address, scheduler, _),
        Cluster(ClusterSpec(kind="address", address=address)) as cluster,
    ):
        receipts = cluster.executor.map(lasts, 0, range(10))
        threading.Timer(0.5, killed, [scheduler]).start()
        with pytest.raises(
            RunError, match=rf"The Dask scheduler {address} is gone.*What was committed is kept.*start the same command"
        ):
            next(receipts)


class ResultThatIsLost:
    """A future whose task has ended well, and whose scheduler dies before it is asked where the result lies."""

    status = "finished"

    def result(self) -> None:
        raise CommClosedError(
            "in <TCP (closed) ConnectionPool.gather>: ConnectionResetError: [Errno 104] Connection reset by peer"
        )


def test_a_scheduler_that_dies_before_it_gives_a_result_is_said_to_be_gone() -> None:
    with pytest.raises(RunError, match=r"The Dask scheduler tcp://127\.0\.0\.1:8786 is gone.*start the same command"):
        fan_out._result(ResultThatIsLost(), "a shard", "tcp://127.0.0.1:8786")
