"""The CUDA path up to the device: what dask-cuda is asked for, and what a worker sets in TensorFlow before it is first used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from tests.clusters.test_cluster import gpus
from trunkline.clusters import Cluster
from trunkline.errors import ClusterError, SpecError
from trunkline.fan_out import DaskExecutor
from trunkline.runtimes.tensorflow import on_one_gpu
from trunkline.specs import ClusterSpec
from trunkline.stages.extract import runtime_for


class LocalCUDACluster:
    """In the place of dask-cuda's, which cannot be imported without CUDA: it takes the arguments that 26.10 takes, and keeps them.

    Its workers are processes of a LocalCluster, so that what is done with the cluster is real.
    """

    made: ClassVar[list[dict[str, Any]]] = []
    adapted: ClassVar[list[dict[str, Any]]] = []

    def __new__(
        cls,
        CUDA_VISIBLE_DEVICES: object = None,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        memory_limit: object = "auto",
        device_memory_limit: object = "default",
        **of_local_cluster: Any,
    ) -> Any:
        from distributed import LocalCluster

        assert set(of_local_cluster) <= {"host", "dashboard_address", "silence_logs"}
        assert (CUDA_VISIBLE_DEVICES, memory_limit, device_memory_limit) == (None, "auto", "default")
        cls.made.append({"n_workers": n_workers, "threads_per_worker": threads_per_worker, **of_local_cluster})
        cluster = LocalCluster(
            n_workers=n_workers, threads_per_worker=threads_per_worker, processes=False, dashboard_address=None
        )
        cluster.adapt = lambda **how: cls.adapted.append(how)
        return cluster


@pytest.fixture
def dask_cuda(monkeypatch: pytest.MonkeyPatch) -> type[LocalCUDACluster]:
    module: Any = ModuleType("dask_cuda")
    module.LocalCUDACluster = LocalCUDACluster
    monkeypatch.setitem(sys.modules, "dask_cuda", module)
    monkeypatch.setattr(LocalCUDACluster, "made", [])
    monkeypatch.setattr(LocalCUDACluster, "adapted", [])
    return LocalCUDACluster


def test_one_worker_a_gpu(dask_cuda: type[LocalCUDACluster], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    gpus(2, monkeypatch, tmp_path, installed=True)
    with Cluster(ClusterSpec(kind="cuda")) as cluster:
        assert (cluster.workers, cluster.on_gpus, cluster.is_here) == (2, True, True)
        assert isinstance(cluster.executor, DaskExecutor)
        assert cluster.executor.workers == 2
        assert cluster.executor.threads == max(1, len(os.sched_getaffinity(0)) // 2)
    (asked,) = dask_cuda.made
    assert (asked["n_workers"], asked["threads_per_worker"]) == (2, 2)
    assert asked["host"] == "127.0.0.1"
    assert asked["dashboard_address"] == "127.0.0.1:0"
    assert dask_cuda.adapted == []


def test_fewer_workers_and_more_when_there_is_work(
    dask_cuda: type[LocalCUDACluster], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    gpus(4, monkeypatch, tmp_path, installed=True)
    with Cluster(ClusterSpec(kind="cuda", minimum=1, workers=3)) as cluster:
        assert cluster.workers == 3
        assert cluster.executor.workers == 1
    assert [asked["n_workers"] for asked in dask_cuda.made] == [1]
    assert dask_cuda.adapted == [{"minimum": 1, "maximum": 3, "target_duration": "250ms"}]


@pytest.mark.usefixtures("dask_cuda")
@pytest.mark.parametrize(("number", "asked"), [(0, {}), (1, {"workers": 2}), (2, {"minimum": 3})])
def test_more_workers_than_gpus_are_refused(number, asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    gpus(number, monkeypatch, tmp_path, installed=True)
    words = rf"cluster\.kind cuda has one worker a GPU; \d were asked for, and this process sees {number} GPUs .*not set.*--cluster local"
    with Cluster(ClusterSpec(kind="cuda", **asked)) as cluster, pytest.raises(ClusterError, match=words):
        _ = cluster.executor


def test_without_dask_cuda_it_is_refused_before_anything(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with (
        pytest.raises(
            SpecError, match=r"cluster\.kind cuda needs dask-cuda \(.*\): pip install 'trunkline\[gpu\]', on a machine"
        ),
        Cluster(ClusterSpec(kind="cuda")),
    ):
        pass


@pytest.mark.parametrize(
    ("precision", "keras_file", "runtime"),
    [
        ("f32", True, "tensorflow"),
        ("mixed_float16", True, "tensorflow"),
        ("bf16", True, "openvino"),
        ("f32", False, "openvino"),
    ],
)
def test_tensorflow_runs_on_gpus_whatever_it_can(precision, keras_file, runtime):
    backbone: Any = SimpleNamespace(precision=precision, runs_on_tensorflow=keras_file)
    assert runtime_for("auto", backbone, Cluster(ClusterSpec(kind="cuda"))) == runtime


class TensorFlow:
    """TensorFlow's switches for devices, on a machine with some GPUs; once it was used they cannot be turned."""

    def __init__(self, gpus: int, *, used: bool = False) -> None:
        self.gpus, self.used, self.turned = [f"GPU:{each}" for each in range(gpus)], used, list[tuple[Any, ...]]()
        experimental = SimpleNamespace(
            enable_tensor_float_32_execution=lambda on: self.turned.append(("tf32", on)),
            set_memory_growth=lambda gpu, on: self.turn("growth", gpu, on),
        )
        self.config = SimpleNamespace(
            experimental=experimental,
            list_physical_devices=lambda kind: self.gpus if kind == "GPU" else [],
            set_visible_devices=lambda devices, kind: self.turn("visible", tuple(devices), kind),
        )

    def turn(self, *what: Any) -> None:
        if self.used:
            raise RuntimeError("Physical devices cannot be modified after being initialized")
        self.turned.append(what)


def test_a_worker_takes_its_own_gpu_alone_and_memory_as_it_needs_it():
    """dask-cuda names every GPU to every worker, its own first."""
    tf = TensorFlow(4)
    assert on_one_gpu(tf)
    assert tf.turned == [("tf32", False), ("visible", ("GPU:0",), "GPU"), ("growth", "GPU:0", True)]


def test_without_a_gpu_nothing_is_taken():
    tf = TensorFlow(0)
    assert not on_one_gpu(tf)
    assert tf.turned == [("tf32", False), ("visible", (), "GPU")]


def test_a_process_that_used_tensorflow_before_goes_on():
    tf = TensorFlow(1, used=True)
    assert on_one_gpu(tf)
    assert tf.turned == [("tf32", False)]
