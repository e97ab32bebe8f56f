"""A run's cluster: chosen by the spec, started when it is first needed, taken down at the end."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from trunkline.clusters import admission, cuda, existing, kubernetes, local, tls
from trunkline.clusters.patience import Patience
from trunkline.errors import SpecError
from trunkline.fan_out import DaskExecutor, Executor, SerialExecutor
from trunkline.progress import Progress, silent
from trunkline.specs import ClusterSpec
from trunkline.specs.cluster import ADDRESS

SCHEDULER_VARIABLE = "TRUNKLINE_DASK_SCHEDULER"
PATIENCE_SECONDS, PODS_PATIENCE_SECONDS = 60.0, 600.0


class Cluster:
    """The executor of a run, started when it is first needed: a run that finds everything done starts no worker.

    Parameters
    ----------
    spec : what the user asked for.
    progress : is told while a scheduler or its first worker is waited for.
    """

    def __init__(self, spec: ClusterSpec, progress: Progress = silent) -> None:
        self.spec = resolved(spec)
        self._progress = progress
        self._resources = contextlib.ExitStack()
        self._executor: Executor | None = None

    def __enter__(self) -> Cluster:
        """Raises SpecError for what can be known to fail: a missing package, certificate files that are not there."""
        match self.kind:
            case "cuda":
                cuda.refuse_without_dask_cuda()
            case "kubernetes":
                kubernetes.refuse_without_dask_kubernetes()
            case "address":
                tls.refuse_unusable_files(self.address, self.spec.tls)
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()
        self._executor = None

    @property
    def kind(self) -> str:
        """Never `auto`."""
        return self.spec.kind

    @property
    def address(self) -> str:
        """Of the scheduler that was named; empty where none was."""
        return self.spec.address or ""

    @property
    def on_gpus(self) -> bool:
        """Whether its workers have GPUs. Of an existing scheduler's workers nobody knows: there `runtime` says what to use."""
        return self.kind == "cuda" or (self.kind == "kubernetes" and self.spec.kubernetes.gpus > 0)

    @property
    def is_here(self) -> bool:
        """Whether its workers run on this machine, and see its disks."""
        return self.kind in ("inline", "local", "cuda")

    @property
    def workers(self) -> int:
        """How many workers there will be at most, without starting them where that can be known."""
        match self.kind:
            case "inline":
                return 1
            case "local":
                return local.most_workers(self.spec)
            case "cuda":
                return self.spec.workers or max(1, cuda.gpus_of_this_machine())
            case "kubernetes":
                return self.spec.workers or 1
            case _:
                return self.executor.workers

    @property
    def executor(self) -> Executor:
        if self._executor is None:
            self._executor = self._start()
            _follow(self._executor)
        return self._executor

    def _start(self) -> Executor:
        match self.kind:
            case "inline":
                return SerialExecutor()
            case "local":
                return self._of(local.local_cluster(self.spec), self._cores_each())
            case "cuda":
                return self._of(cuda.cuda_cluster(self.spec), self._cores_each())
            case "kubernetes":
                patience = self._patience(PODS_PATIENCE_SECONDS)
                executor = self._of(kubernetes.kubernetes_cluster(self.spec, patience), max(1, int(self.spec.kubernetes.cpus)))
                return self._elsewhere(executor, patience)
            case _:
                patience = self._patience(PATIENCE_SECONDS)
                client = self._resources.enter_context(existing.connected(self.address, self.spec.tls, patience))
                return self._elsewhere(DaskExecutor(client, 1), patience)

    def _patience(self, seconds: float) -> Patience:
        return Patience(seconds if self.spec.patience is None else self.spec.patience, self._progress)

    def _cores_each(self) -> int:
        return max(1, len(os.sched_getaffinity(0)) // self.workers)

    def _of(self, cluster: Any, threads: int) -> DaskExecutor:
        from distributed import Client

        self._resources.enter_context(cluster)
        return DaskExecutor(self._resources.enter_context(Client(cluster, set_as_default=False)), threads)

    def _elsewhere(self, executor: DaskExecutor, patience: Patience) -> DaskExecutor:
        """Workers that others have set up: waited for, and compared with this process."""
        existing.wait_for_a_worker(executor.client, patience)
        admission.introduced(executor)
        return executor


def _follow(executor: Executor) -> None:
    """What workers log arrives here."""
    if isinstance(executor, DaskExecutor):
        from trunkline.logs.forwarding import follow_workers

        follow_workers(executor.client)


def resolved(spec: ClusterSpec) -> ClusterSpec:
    """The same without `auto`: an existing scheduler where one is named, else GPUs where there are some, else processors.

    Raises SpecError where TRUNKLINE_DASK_SCHEDULER is no address.
    """
    if spec.kind != "auto":
        return spec
    named = spec.address or os.environ.get(SCHEDULER_VARIABLE)
    if named:
        if not ADDRESS.fullmatch(named):
            raise SpecError(
                f"{SCHEDULER_VARIABLE} is {named!r}, and a scheduler's address looks like tcp://host:8786. Set it right, or choose another "
                "cluster.kind than auto."
            )
        return spec.model_copy(update={"kind": "address", "address": named})
    on_gpus = cuda.gpus_of_this_machine() and cuda.has_dask_cuda()
    return spec.model_copy(update={"kind": "cuda" if on_gpus else "local"})
