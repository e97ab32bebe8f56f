"""Where shards run: this process, workers of this machine, GPUs, or an existing Dask scheduler."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
from typing import Any

from trunkline.errors import RunError, SpecError
from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE, DaskExecutor, Executor, SerialExecutor, workers_of
from trunkline.specs import ClusterSpec

START_ATTEMPTS = 3

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?[^/\s:]+:\d+")


class Cluster:
    """The executor of a run, started when it is first needed: a run that finds everything done starts no worker."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self._resources = contextlib.ExitStack()
        self._executor: Executor | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()
        self._executor = None

    @property
    def workers(self) -> int:
        """How many workers there will be, without starting them where that can be known."""
        kind = self.kind
        if kind == "inline":
            return 1
        if kind == "local":
            return self.spec.workers or len(os.sched_getaffinity(0))
        return self.executor.workers

    @property
    def kind(self) -> str:
        """`auto` resolved: cuda where a GPU is visible and dask-cuda is installed, else local."""
        if self.spec.kind != "auto":
            return self.spec.kind
        gpu = os.path.exists("/dev/nvidia0") and importlib.util.find_spec("dask_cuda")  # noqa: PTH110
        return "cuda" if gpu else "local"

    @property
    def executor(self) -> Executor:
        if self._executor is None:
            self._executor = self._start()
        return self._executor

    def _start(self) -> Executor:
        match self.kind:
            case "inline":
                return SerialExecutor()
            case "local":
                return self._dask(_local_cluster(self.workers), self.workers)
            case "cuda":
                return self._dask(_cuda_cluster(self.spec.workers), None)
            case _:
                if not self.spec.address:
                    raise SpecError(
                        "cluster.kind is 'address' and cluster.address is missing: name the scheduler, such as tcp://host:8786."
                    )
                if not ADDRESS.fullmatch(self.spec.address):
                    raise SpecError(f"cluster.address is {self.spec.address!r}; a scheduler's looks like tcp://host:8786.")
                return self._dask(None, None)

    def _dask(self, cluster: Any, workers: int | None) -> Executor:
        from distributed import Client

        from trunkline.logs.forwarding import follow_workers

        if cluster is not None:
            self._resources.enter_context(cluster)
        try:
            client = self._resources.enter_context(Client(cluster or self.spec.address, set_as_default=False))
        except OSError as error:
            raise RunError(
                f"No Dask scheduler answers at {self.spec.address} ({error}). Check the address and that it runs, "
                "then start the same command again."
            ) from error
        follow_workers(client)
        workers = workers or len(workers_of(client))
        if not workers:
            raise RunError(f"The Dask scheduler {client.scheduler.address} has no workers. Start some, then start this again.")
        cores = len(os.sched_getaffinity(0))
        return DaskExecutor(client, workers, max(1, cores // workers) if self.kind in ("local", "cuda") else 1)


def _local_cluster(workers: int) -> Any:
    from distributed import LocalCluster

    if "DASK_LOGGING__DISTRIBUTED" not in os.environ:
        logging.getLogger("distributed").setLevel(logging.WARNING)
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            with _for_few_long_tasks():
                return LocalCluster(
                    n_workers=workers,
                    threads_per_worker=SHARDS_PER_WORKER_AT_ONCE,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.ERROR,
                )
        except RuntimeError as error:  # one worker that dies while it starts ends the whole cluster
            failed = error
            log.warning("Workers died while they started (attempt %d of %d)", attempt, START_ATTEMPTS)
    raise RunError(
        f"{workers} workers could not be started in {START_ATTEMPTS} attempts ({failed.__cause__ or failed}): was memory short? Start the "
        "same command again, with fewer workers or --cluster inline."
    ) from failed


def _for_few_long_tasks() -> Any:
    """Dask's settings for workers whose tasks take seconds: by default it looks at them fifty to a hundred times a second."""
    import dask

    return dask.config.set(
        {
            "distributed.worker.profile.enabled": False,
            "distributed.worker.memory.monitor-interval": "1s",
            "distributed.admin.tick.interval": "500ms",
            "distributed.scheduler.worker-ttl": "2 minutes",  # a worker that is silent for so long is taken for dead
            "distributed.admin.system-monitor.interval": "5s",
            "distributed.admin.system-monitor.gil.enabled": False,
            # Dask's own 64 KiB gives the memory of each decoded image back to the system, which then has to clear it again
            "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 * 2**20,
            "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
        }
    )


def _cuda_cluster(workers: int | None) -> Any:
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise SpecError(
            "cluster.kind cuda needs dask-cuda: pip install 'trunkline[gpu]', on a machine with an NVIDIA GPU."
        ) from error
    return LocalCUDACluster(n_workers=workers, threads_per_worker=SHARDS_PER_WORKER_AT_ONCE)
