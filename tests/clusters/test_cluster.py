"""Which executor a spec gets, what is refused before anything is started, and workers of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import distributed
import pytest
from distributed import LocalCluster

from trunkline.clusters import Cluster, cuda
from trunkline.clusters.cluster import SCHEDULER_VARIABLE
from trunkline.clusters.local import START_ATTEMPTS
from trunkline.errors import RunError, SpecError
from trunkline.fan_out import DaskExecutor, SerialExecutor
from trunkline.specs import ClusterSpec

HERE = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def no_scheduler_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(SCHEDULER_VARIABLE, raising=False)


def square(job: int, item: int) -> tuple[int, int]:
    return item, job + item * item


def test_inline_is_the_serial_loop():
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        assert cluster.workers == 1
        assert isinstance(cluster.executor, SerialExecutor)
        assert cluster.executor is cluster.executor


def gpus(number: int, monkeypatch: pytest.MonkeyPatch, folder: Path, *, installed: bool) -> None:
    """Device files as a driver makes them, and whether dask-cuda is there."""
    for each in range(number):
        (folder / f"nvidia{each}").touch()
    for other in ("nvidiactl", "nvidia-uvm"):
        (folder / other).touch()
    monkeypatch.setattr(cuda, "DEVICES", folder)
    monkeypatch.setattr(cuda, "has_dask_cuda", lambda: installed)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("number", "installed", "kind"), [(0, False, "local"), (0, True, "local"), (2, False, "local"), (2, True, "cuda")]
)
def test_auto_takes_gpus_where_they_can_be_used(number, installed, kind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    gpus(number, monkeypatch, tmp_path, installed=installed)
    cluster = Cluster(ClusterSpec())
    assert cluster.kind == kind
    assert cluster.on_gpus == (kind == "cuda")
    assert cluster.workers == (2 if kind == "cuda" else HERE)
    assert cluster._executor is None


@pytest.mark.parametrize(
    ("allowed", "seen"), [(None, 3), ("", 0), ("-1", 0), ("1", 1), ("2,0", 2), ("0,-1,1", 1), ("0,1,2,3,4", 3)]
)
def test_gpus_are_those_that_cuda_would_show(allowed, seen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    gpus(3, monkeypatch, tmp_path, installed=True)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert cuda.gpus_of_this_machine() == seen


def test_auto_takes_a_scheduler_that_is_named_before_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    gpus(2, monkeypatch, tmp_path, installed=True)
    monkeypatch.setenv(SCHEDULER_VARIABLE, "tcp://there:8786")
    assert (Cluster(ClusterSpec()).kind, Cluster(ClusterSpec()).address) == ("address", "tcp://there:8786")
    assert Cluster(ClusterSpec(address="tls://mine:1")).address == "tls://mine:1"
    assert Cluster(ClusterSpec(kind="inline")).kind == "inline"


def test_a_variable_that_is_no_address_is_refused_in_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SCHEDULER_VARIABLE, "scheduler")
    with pytest.raises(SpecError, match=r"TRUNKLINE_DASK_SCHEDULER is 'scheduler', and a scheduler's address looks like tcp"):
        Cluster(ClusterSpec())


def test_workers_are_counted_without_starting_one():
    assert Cluster(ClusterSpec(kind="local", workers=3)).workers == 3
    assert Cluster(ClusterSpec(kind="local")).workers == HERE
    assert Cluster(ClusterSpec(kind="local", minimum=HERE + 5)).workers == HERE + 5
    assert Cluster(ClusterSpec.model_validate({"kind": "kubernetes", "workers": 7, "kubernetes": {"image": "x"}})).workers == 7


@pytest.mark.parametrize(
    ("kind", "gpus_each", "expected"), [("local", 0, False), ("kubernetes", 0, False), ("kubernetes", 1, True)]
)
def test_who_has_gpus(kind, gpus_each, expected):
    said = {"kind": kind, "workers": 1, "kubernetes": {"image": "x", "gpus": gpus_each}}
    cluster = Cluster(ClusterSpec.model_validate(said))
    assert (cluster.on_gpus, cluster.is_here) == (expected, kind == "local")


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


@pytest.fixture(scope="module")
def growing() -> Iterator[DaskExecutor]:
    """One worker, and up to three while there is work."""
    with Cluster(ClusterSpec(kind="local", minimum=1, workers=3)) as cluster:
        assert isinstance(cluster.executor, DaskExecutor)
        yield cluster.executor


def takes_a_moment(_: object, item: int) -> tuple[int, int]:
    time.sleep(0.3)
    return item, os.getpid()


@pytest.mark.slow
def test_a_cluster_grows_with_the_work_and_shrinks_after_it(growing: DaskExecutor):
    """So does the number of calls in flight, or no more workers would ever be asked for."""
    assert growing.workers == 1
    assert growing.threads == max(1, HERE // 3)
    taken, most = 0, 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(150):
            taken += 1
            yield number

    seen = set()
    for back, (_, process) in enumerate(growing.map(takes_a_moment, None, items()), 1):
        seen.add(process)
        most = max(most, taken - back)
    assert back == 150
    assert len(seen) == 3
    assert 4 < most <= 12
    deadline = time.monotonic() + 60
    while growing.workers > 1:
        assert time.monotonic() < deadline, "workers without work are kept"
        time.sleep(0.1)
    assert sorted(item for item, _ in growing.map(takes_a_moment, None, range(3))) == [0, 1, 2]
