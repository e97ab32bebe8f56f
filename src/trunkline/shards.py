"""The unit of work: a fixed range of rows, and how a dataset is cut into them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

BLOCK = 1024  # batches start on multiples of it, and a shard divides it
MAX_OBJECT_BYTES = 16 * 2**20
MAX_SHARD_SECONDS = 20.0
SHARDS_PER_WORKER = 8
MIN_ROWS, MAX_ROWS = 64, BLOCK


@dataclass(frozen=True, order=True)
class Shard:
    """Rows [start, stop) of a manifest; `stop` falls short of the boundary only at the end of a batch."""

    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.start:012d}"

    @property
    def rows(self) -> int:
        return self.stop - self.start


def rows_per_shard(images: int, row_bytes: int, seconds_per_image: float, workers: int) -> int:
    """The power of two from 64 to 1,024 that keeps objects small, restarts cheap and all workers busy.

    Parameters
    ----------
    images : in the dataset now.
    row_bytes : bytes of one row of the widest layer.
    seconds_per_image : estimated work on one worker.
    workers : that share the work.
    """
    limits = (
        MAX_OBJECT_BYTES // row_bytes,
        int(MAX_SHARD_SECONDS / max(seconds_per_image, 1e-6)),
        images // (SHARDS_PER_WORKER * workers),
    )
    most = max(MIN_ROWS, min(*limits, MAX_ROWS))
    return 1 << (most.bit_length() - 1)


def plan(spans: Iterable[tuple[int, int]], rows: int) -> Iterator[Shard]:
    """Every shard of the batches' row ranges [start, stop), in order; a pure function, the same on every machine."""
    for first, stop in spans:
        for start in range(first, stop, rows):
            yield Shard(start, min(start + rows, stop))


def remaining(shards: Iterable[Shard], done: Container[str]) -> list[Shard]:
    """The shards whose names are not among the committed ones."""
    return [shard for shard in shards if shard.name not in done]
