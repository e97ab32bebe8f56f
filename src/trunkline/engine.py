"""How a worker uses its machine, chosen once a run and written into its record; nothing here is part of the recipe."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from trunkline.backbones.compiled import Compiled
from trunkline.specs import EngineSpec

LOCAL_READERS, REMOTE_READERS = 2, 16
IMAGES_AHEAD, BYTES_AHEAD = 64, 64 * 2**20
GPU_BATCH = 64  # images a forward pass of a GPU; a processor's follow from its caches


@dataclass(frozen=True)
class Engine:
    """What each of `workers` does: one stream of batches over `threads` cores, fed by `readers` threads that read and decode.

    Parameters
    ----------
    runtime, precision : what executes the backbone.
    batch : images a forward pass.
    images_ahead : prepared images that wait for the forward pass at most.
    in_flight_bytes : of files and decoded images that a worker holds at most, one image aside.
    """

    runtime: str
    precision: str
    workers: int
    threads: int
    readers: int
    batch: int
    images_ahead: int
    in_flight_bytes: int


def chosen(spec: EngineSpec, backbone: Compiled, *, runtime: str, workers: int, threads: int, local_source: bool) -> Engine:
    """The engine for a machine: what the spec says, else as many readers as a worker has cores, more where reading means waiting."""
    threads = spec.threads or threads
    readers = spec.readers or max(threads, LOCAL_READERS if local_source else REMOTE_READERS)
    image_bytes = 3 * backbone.size**2 * np.dtype(backbone.pixels).itemsize
    ahead = max(2 * backbone.batch, readers + 1, min(IMAGES_AHEAD, BYTES_AHEAD // image_bytes))
    return Engine(runtime, backbone.precision, workers, threads, readers, backbone.batch, ahead, spec.in_flight_mib * 2**20)


def in_common(engines: Sequence[Engine]) -> Engine:
    """How several recipes read together: as many prepared images wait as the most demanding one allows, but two batches of each.

    What is run on them, and in which batches, stands in each recipe's own engine.
    """
    first = engines[0]
    ahead = max(2 * max(engine.batch for engine in engines), first.readers + 1, min(engine.images_ahead for engine in engines))
    return replace(first, images_ahead=first.images_ahead if len(engines) == 1 else ahead)


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
