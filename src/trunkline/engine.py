"""How a worker uses its machine, chosen once a run and written into its record; nothing here is part of the recipe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trunkline.specs import EngineSpec

LOCAL_READERS, REMOTE_READERS = 2, 16
BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Engine:
    """What each of `workers` does: one stream of batches over `threads` cores, fed by `readers` threads that read and decode.

    Parameters
    ----------
    runtime, precision : what executes the backbone.
    batch : images a forward pass.
    in_flight_bytes : of files and decoded images that a worker holds at most, one image aside.
    """

    runtime: str
    precision: str
    workers: int
    threads: int
    readers: int
    batch: int
    in_flight_bytes: int

    @property
    def images_ahead(self) -> int:
        """Prepared images that wait for the forward pass at most."""
        return BATCHES_AHEAD * self.batch


def chosen(
    spec: EngineSpec, *, runtime: str, precision: str, batch: int, workers: int, threads: int, local_source: bool
) -> Engine:
    """The engine for a machine: what the spec says, else as many readers as a worker has cores, more where reading means waiting."""
    threads = spec.threads or threads
    readers = spec.readers or max(threads, LOCAL_READERS if local_source else REMOTE_READERS)
    return Engine(runtime, precision, workers, threads, readers, batch, spec.in_flight_mib * 2**20)


class Budget:
    """Bytes that threads may hold at once. One that asks for more than there is gets it when it is alone, so nobody waits for ever."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def held(self, count: int) -> Iterator[None]:
        """Hold `count` bytes; waits until they are free."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + count <= self._limit)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()
