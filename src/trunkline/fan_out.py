"""A pure function over shards, anywhere: the serial loop is the oracle, Dask gives the same receipts in another order."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from trunkline.errors import RunError, SpecError
from trunkline.specs import ClusterSpec

Job = TypeVar("Job")
Item = TypeVar("Item")
Receipt = TypeVar("Receipt")

SHARDS_PER_WORKER_AT_ONCE = 2  # one reads and writes while the other computes
IN_FLIGHT_PER_SLOT = 2
INFRASTRUCTURE_RETRIES = 2

log = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs shards. `workers` processes share the work, each with `threads` cores for its forward pass."""

    workers: int
    threads: int

    def map(self, function: Callable[[Job, Item], Receipt], job: Job, items: Iterable[Item]) -> Iterator[Receipt]:
        """`function(job, item)` for each item, receipts as they come; the first error ends it."""


@dataclass
class SerialExecutor:
    """A plain loop in this process, with all its cores."""

    workers: int = 1
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def map(self, function: Callable[[Job, Item], Receipt], job: Job, items: Iterable[Item]) -> Iterator[Receipt]:
        for item in items:
            yield function(job, item)


@dataclass
class DaskExecutor:
    """Dask workers: a bounded number of futures in flight, lost ones submitted again, finished ones released at once."""

    client: Any
    workers: int
    threads: int

    def map(self, function: Callable[[Job, Item], Receipt], job: Job, items: Iterable[Item]) -> Iterator[Receipt]:
        from distributed import as_completed

        waiting, lost = iter(items), Counter[Any]()
        running: dict[Any, Item] = {}
        done = as_completed(loop=self.client.loop)

        def submit(item: Item) -> None:
            future = self.client.submit(function, job, item, pure=False)
            running[future] = item
            done.add(future)

        for item in _some(waiting, self.workers * SHARDS_PER_WORKER_AT_ONCE * IN_FLIGHT_PER_SLOT):
            submit(item)
        try:
            for future in done:
                item = running.pop(future)
                if _was_lost(future) and lost[item] < INFRASTRUCTURE_RETRIES:
                    lost[item] += 1
                    log.warning(
                        "%s was lost with its worker; trying again (%d of %d)", item, lost[item], INFRASTRUCTURE_RETRIES
                    )
                    submit(item)
                    continue
                receipt = _result(future, item)
                future.release()
                for more in _some(waiting, 1):
                    submit(more)
                yield receipt
        finally:
            self.client.cancel(list(running))


def _some(items: Iterator[Item], count: int) -> list[Item]:
    return [item for _, item in zip(range(count), items, strict=False)]


def _was_lost(future: Any) -> bool:
    """Whether the worker died under it, rather than the function failed."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    return future.status in ("cancelled", "lost") or (
        future.status == "error" and isinstance(future.exception(), KilledWorker | CommClosedError)
    )


def _result(future: Any, item: object) -> Any:
    if _was_lost(future):
        raise RunError(
            f"{item} was lost {INFRASTRUCTURE_RETRIES + 1} times with its worker, probably out of memory. Start the same command "
            "again with fewer workers; what was committed is kept."
        )
    return future.result()


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
        """`auto` resolved: cuda where a GPU is visible, else local."""
        if self.spec.kind != "auto":
            return self.spec.kind
        return "cuda" if os.path.exists("/dev/nvidia0") else "local"  # noqa: PTH110

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
                return self._dask(None, None)

    def _dask(self, cluster: Any, workers: int | None) -> Executor:
        from distributed import Client

        if cluster is not None:
            self._resources.enter_context(cluster)
        try:
            client = self._resources.enter_context(Client(cluster or self.spec.address, set_as_default=False))
        except OSError as error:
            raise RunError(
                f"No Dask scheduler answers at {self.spec.address} ({error}). Check the address and that it runs."
            ) from error
        workers = workers or len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise RunError(f"The Dask scheduler {client.scheduler.address} has no workers. Start some, then start this again.")
        cores = len(os.sched_getaffinity(0))
        return DaskExecutor(client, workers, max(1, cores // workers) if self.kind == "local" else 1)


def _local_cluster(workers: int) -> Any:
    from distributed import LocalCluster

    chatter = logging.getLogger("distributed")
    if chatter.level == logging.NOTSET:
        chatter.setLevel(logging.WARNING)
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=SHARDS_PER_WORKER_AT_ONCE,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
    )


def _cuda_cluster(workers: int | None) -> Any:
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise SpecError(
            "cluster.kind cuda needs dask-cuda: pip install 'trunkline[gpu]', on a machine with an NVIDIA GPU."
        ) from error
    return LocalCUDACluster(n_workers=workers, threads_per_worker=SHARDS_PER_WORKER_AT_ONCE)
