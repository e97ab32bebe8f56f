"""A pure function over shards, anywhere: the serial loop is the oracle, Dask gives the same receipts in another order."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from trunkline import calls
from trunkline.errors import RunError
from trunkline.logs import carried

Job = TypeVar("Job")
Item = TypeVar("Item")
Receipt = TypeVar("Receipt")

SHARDS_PER_WORKER_AT_ONCE = 2  # one reads and writes while the other computes
IN_FLIGHT_PER_SLOT = 2
INFRASTRUCTURE_RETRIES = 2
COUNT_EVERY_SECONDS = 2.0  # workers come and go
END_SECONDS = 5.0  # for which an ended map waits for what runs on workers: about two batches
LACK_OF_MEMORY = ("can't start new thread", "bad_alloc", "Cannot allocate memory")  # where it is no MemoryError

log = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs shards. `workers` processes share the work now, each with `threads` cores for its forward pass."""

    threads: int

    @property
    def workers(self) -> int: ...

    def map(self, function: Callable[[Job, Item], Receipt], job: Job, items: Iterable[Item]) -> Iterator[Receipt]:
        """`function(job, item)` for each item, receipts as they come; the first error ends it, and so does letting go of it."""

    def hold(self, items: Sequence[Item]) -> Sequence[Any]:
        """Items for several `map`s: they travel to the workers once, and each is worked on where it lies, as far as possible."""

    def everywhere(self, function: Callable[[], None]) -> None:
        """Call it once in every process that works."""


@dataclass
class SerialExecutor:
    """A plain loop in this process, with all its cores."""

    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    @property
    def workers(self) -> int:
        return 1

    def map(self, function: Callable[[Job, Item], Receipt], job: Job, items: Iterable[Item]) -> Iterator[Receipt]:
        function = carried(function)
        for item in items:
            yield function(job, item)

    def hold(self, items: Sequence[Item]) -> Sequence[Any]:
        return items

    def everywhere(self, function: Callable[[], None]) -> None:
        function()


@dataclass
class DaskExecutor:
    """Dask workers: a bounded number of futures in flight, lost ones submitted again, finished ones released at once.

    `admission`, where there is one, is asked by each worker process before it works for the first time, however late it joined.
    """

    client: Any
    threads: int
    admission: calls.Admission | None = None

    @property
    def workers(self) -> int:
        """How many there are at this moment; 1 where the last one has just gone, and another will follow."""
        return max(1, len(self.client.nthreads()))

    def map(self, function: Callable[[Job, Item], Receipt], job: Job, items: Iterable[Item]) -> Iterator[Receipt]:
        from distributed import as_completed
        from distributed.client import ClosedClientError

        address, token = self.client.scheduler.address, uuid.uuid4().hex
        function = carried(function)
        waiting, lost = iter(items), Counter[Any]()
        running: dict[Any, Item] = {}
        done = as_completed(loop=self.client.loop)
        room = _Room(self)

        def submit(item: Item) -> None:
            if not _connected(self.client):
                raise _scheduler_gone(address)
            key = f"{getattr(function, '__name__', 'call')}-{uuid.uuid4().hex}"  # Dask learns from the name how long such tasks take
            try:
                future = self.client.submit(calls.call, token, self.admission, function, job, item, key=key)
            except ClosedClientError as error:
                raise _scheduler_gone(address) from error
            running[future] = item
            done.add(future)

        for item in _some(waiting, room.left(running)):
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
                if _was_lost(future) and not _connected(self.client):
                    raise _scheduler_gone(address)
                receipt = _result(future, item, address)
                future.release()
                for more in _some(waiting, room.left(running)):
                    submit(more)
                yield receipt
        finally:
            with contextlib.suppress(ClosedClientError):
                self.client.cancel(list(running))
            if running and self.client.status == "running":
                _end(self.client, token)

    def hold(self, items: Sequence[Item]) -> Sequence[Any]:
        """Each is the result of a task of its own, so that Dask makes it again where its worker died."""
        workers = sorted(workers_of(self.client))
        homes = [[workers[number % len(workers)]] if workers else None for number in range(len(items))]
        return [
            self.client.submit(_itself, item, workers=home, allow_other_workers=home is not None, pure=False)
            for item, home in zip(items, homes, strict=True)
        ]

    def everywhere(self, function: Callable[[], None]) -> None:
        self.client.run(function, on_error="ignore")  # a worker that leaves meanwhile needs it no more


class _Room:
    """How many more calls may be in flight: so many for each worker that there is, counted again every now and then."""

    def __init__(self, executor: DaskExecutor) -> None:
        self._executor = executor
        self._counted, self._most = float("-inf"), SHARDS_PER_WORKER_AT_ONCE * IN_FLIGHT_PER_SLOT

    def left(self, running: Sized) -> int:
        now = time.monotonic()
        if now - self._counted >= COUNT_EVERY_SECONDS:
            self._counted = now
            with contextlib.suppress(OSError):  # a scheduler that is gone is noticed by whoever submits to it
                self._most = self._executor.workers * SHARDS_PER_WORKER_AT_ONCE * IN_FLIGHT_PER_SLOT
        return max(0, self._most - len(running))


def workers_of(client: Any) -> dict[str, dict[str, Any]]:
    """Address → what the scheduler knows of a worker.

    `Client.scheduler_info` may give none at all: the client asks every two seconds for itself, without workers, into the same place.
    """
    found: dict[str, dict[str, Any]] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return found


def _end(client: Any, token: str) -> None:
    """Tell every worker that a map has ended, and wait a little until none works on it any more."""

    def tell() -> None:
        with contextlib.suppress(Exception):  # a worker or scheduler that is gone has stopped as well
            client.run(calls.end, token, on_error="ignore")
            deadline = time.monotonic() + END_SECONDS
            while any(client.run(calls.working, token, on_error="ignore").values()) and time.monotonic() < deadline:
                time.sleep(0.05)

    telling = threading.Thread(target=tell, name="end-of-map", daemon=True)  # a worker that hangs must not hold the driver
    telling.start()
    telling.join(2 * END_SECONDS)


def _itself(item: Item) -> Item:
    return item


def _some(items: Iterator[Item], count: int) -> list[Item]:
    return [item for _, item in zip(range(count), items, strict=False)]


def _connected(client: Any) -> bool:
    """Whether the scheduler answers, once the client has given up looking for it: what is submitted in between may never end."""
    while client.status in ("connecting", "closing"):
        time.sleep(0.05)
    return bool(client.status == "running")


def _scheduler_gone(address: str) -> RunError:
    return RunError(
        f"The Dask scheduler {address} is gone, and with it the shards in flight. What was committed is kept: start a scheduler and "
        "workers, then start the same command again."
    )


def _was_lost(future: Any) -> bool:
    """Whether the worker died under it, rather than the function failed."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    return future.status in ("cancelled", "lost") or (
        future.status == "error" and isinstance(future.exception(), KilledWorker | CommClosedError)
    )


def _result(future: Any, item: object, address: str) -> Any:
    from distributed.comm import CommClosedError

    if _was_lost(future):
        raise RunError(
            f"{item} was lost {INFRASTRUCTURE_RETRIES + 1} times with its worker, probably out of memory. Start the same command "
            "again with fewer workers; what was committed is kept."
        )
    try:
        return future.result()
    except CommClosedError as error:  # it had ended well, and the scheduler died before it said where the result lies
        raise _scheduler_gone(address) from error
    except (MemoryError, RuntimeError, OSError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in LACK_OF_MEMORY):
            raise
        raise RunError(
            f"A worker ran out of memory with {item} ({error}). Start the same command again with fewer workers; what was "
            "committed is kept."
        ) from error
