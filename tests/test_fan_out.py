"""What every executor does, on the serial loop and on real Dask workers; and which executor a spec gets."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import distributed
import pytest
from distributed import LocalCluster

from tests.kills.started import Log, killed, scheduler_and_workers
from trunkline.cluster import START_ATTEMPTS, Cluster
from trunkline.errors import RunError, SpecError
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


def test_workers_that_die_while_they_start_are_started_again(monkeypatch: pytest.MonkeyPatch, caplog):
    real, attempts = distributed.LocalCluster, []

    def dies_at_first(**how: object) -> LocalCluster:
        attempts.append(how)
        if len(attempts) < START_ATTEMPTS:
            raise RuntimeError("Nanny failed to start.")
        return real(**how)

    monkeypatch.setattr(distributed, "LocalCluster", dies_at_first)
    with Cluster(ClusterSpec(kind="local", workers=1)) as cluster:
        assert list(cluster.executor.map(square, 0, [4])) == [(4, 16)]
    assert "Workers died while they started (attempt 2 of 3)" in caplog.text


def test_workers_that_never_start_are_told_in_words(monkeypatch: pytest.MonkeyPatch):
    def dies(**_: object) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", dies)
    with (
        Cluster(ClusterSpec(kind="local", workers=4)) as cluster,
        pytest.raises(
            RunError,
            match=r"4 workers could not be started in 3 attempts \(Nanny failed to start\.\): was memory short",
        ),
    ):
        _ = cluster.executor


def test_inline_is_the_serial_loop():
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        assert cluster.workers == 1
        assert isinstance(cluster.executor, SerialExecutor)
        assert cluster.executor is cluster.executor


def test_auto_is_known_without_starting_a_worker():
    cluster = Cluster(ClusterSpec())
    assert cluster.kind == ("cuda" if Path("/dev/nvidia0").exists() else "local")
    assert Cluster(ClusterSpec(kind="local", workers=3)).workers == 3
    assert Cluster(ClusterSpec(kind="local")).workers == len(os.sched_getaffinity(0))
    assert cluster._executor is None


def test_cores_are_shared_among_local_workers(dask_executor: DaskExecutor):
    assert dask_executor.workers == WORKERS
    assert dask_executor.threads == max(1, len(os.sched_getaffinity(0)) // WORKERS)


def test_an_existing_scheduler_is_used_and_left_running():
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as existing:
        spec = ClusterSpec(kind="address", address=existing.scheduler_address)
        for _ in range(2):
            with Cluster(spec) as cluster:
                assert cluster.workers == 1
                assert list(cluster.executor.map(square, 0, [4])) == [(4, 16)]


def test_a_scheduler_without_workers_is_refused():
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as existing,
        Cluster(ClusterSpec(kind="address", address=existing.scheduler_address)) as cluster,
        pytest.raises(RunError, match=r"The Dask scheduler tcp://127.0.0.1:\d+ has no workers. Start some"),
    ):
        _ = cluster.executor


def test_no_scheduler_answers():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "500ms"}),
        Cluster(ClusterSpec(kind="address", address="tcp://127.0.0.1:9")) as cluster,
        pytest.raises(RunError, match=r"No Dask scheduler answers at tcp://127.0.0.1:9 \(.*\). Check the address"),
    ):
        _ = cluster.executor


def test_the_scheduler_is_not_named():
    with (
        Cluster(ClusterSpec(kind="address")) as cluster,
        pytest.raises(SpecError, match=r"cluster.address is missing: name the scheduler, such as tcp://host:8786"),
    ):
        _ = cluster.executor


def test_gpus_need_dask_cuda(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with (
        Cluster(ClusterSpec(kind="cuda")) as cluster,
        pytest.raises(SpecError, match=r"cluster.kind cuda needs dask-cuda: pip install 'trunkline\[gpu\]'"),
    ):
        _ = cluster.executor


def test_a_gpu_without_dask_cuda_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidia0")
    found = importlib.util.find_spec("dask_cuda")
    assert Cluster(ClusterSpec()).kind == ("cuda" if found else "local")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "dask_cuda")
    assert Cluster(ClusterSpec()).kind == "cuda"


@pytest.mark.parametrize("address", ["localhost", "foo:bar", "nonsense://x:1"])
def test_an_address_that_is_none_is_said_in_words(address: str):
    with (
        Cluster(ClusterSpec(kind="address", address=address)) as cluster,
        pytest.raises(SpecError, match=r"a scheduler.s looks like tcp"),
    ):
        _ = cluster.executor
