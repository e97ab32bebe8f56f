"""What an extraction will write and hold, said and judged before the first image is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.backbones.compiled import Compiled
from trunkline.engine import BYTES_AHEAD
from trunkline.errors import DataError, StoreError
from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE
from trunkline.locations import Location
from trunkline.machine import available_memory
from trunkline.shards import MIN_ROWS
from trunkline.store.layout import ArrayLayout
from trunkline.wording import in_bytes

MAX_SHARD_BYTES = 512 * 2**20
PROCESS_BYTES = 300 * 2**20  # a worker with its libraries, before it loads a backbone
KEPT_BYTES = 64 * 2**20  # libraries that a worker's first shard loads, and what the C library keeps of freed memory
MOMENTS_COPIES = 6  # in bytes of the stored float32: three float64 arrays of a layer, while its moments are computed


@dataclass(frozen=True)
class Projection:
    """Rows to be written, bytes of a row over all layers before compression, and bytes free where they go, where that is known."""

    location: Location
    rows: int
    features: int
    row_bytes: int
    free: int | None

    @classmethod
    def of(cls, layout: ArrayLayout, rows: int, location: Location) -> Projection:
        features = sum(layout.dims.values())
        return cls(location, rows, features, features * np.dtype(layout.dtype).itemsize, location.free())

    @classmethod
    def together(cls, each: Sequence[Projection], location: Location) -> Projection:
        """Of several recipes over the same dataset; where one has fewer rows to go, a row is as wide as rows are on average."""
        rows = max(one.rows for one in each)
        features, total = sum(one.features for one in each), sum(one.bytes for one in each)
        return cls(location, rows, features, -(-total // max(rows, 1)), location.free())

    def __str__(self) -> str:
        free = "" if self.free is None else f", {in_bytes(self.free)} free"
        return f"{self.rows:,} rows of {self.features:,} features: {in_bytes(self.bytes)} before compression{free}"

    @property
    def bytes(self) -> int:
        """Of all rows, before compression."""
        return self.rows * self.row_bytes

    def refuse_what_does_not_fit(self, *, ignore_free_space: bool = False) -> None:
        """Raises StoreError where a shard would not fit into a worker, or all of it not onto the disk unless that is to be ignored."""
        if self.row_bytes * MIN_ROWS > MAX_SHARD_BYTES:
            raise StoreError(
                f"A row would have {self.features:,} features ({in_bytes(self.row_bytes)}), so the smallest shard, {MIN_ROWS} rows, "
                f"{in_bytes(self.row_bytes * MIN_ROWS)}; workers hold at most {in_bytes(MAX_SHARD_BYTES)}. Pool the maps, name fewer "
                "layers, or cut later."
            )
        if self.free is not None and self.bytes > self.free and not ignore_free_space:
            raise StoreError(
                f"{self}. That does not fit onto the disk of {self.location}, and nothing was extracted. Pool the maps, name fewer layers, "
                "or give a --store with more room. Where you know that they compress well, --ignore-free-space starts all the same."
            )


@dataclass(frozen=True)
class WorkerMemory:
    """Bytes that one worker holds, by what for: a process with its backbone, shards being made, images prepared ahead, images decoded.

    `kept` is what cannot be told in advance: the libraries its first shard loads, and freed memory that the C library keeps.
    """

    process: int
    shards: int
    ahead: int
    decoding: int = 0
    kept: int = KEPT_BYTES

    @classmethod
    def of(
        cls,
        layout: ArrayLayout,
        backbone: Compiled,
        *,
        at_once: int = SHARDS_PER_WORKER_AT_ONCE,
        process: int | None = None,
        ahead: int | None = None,
        decoding: int = 0,
    ) -> WorkerMemory:
        """Of the shards of a layout; what is not measured yet is assumed: a bare process and twice the backbone's files.

        Parameters
        ----------
        at_once : shards a worker makes at the same time.
        process : bytes of a worker that has loaded the backbone, where they were measured.
        ahead : prepared images that wait for the forward pass, a shard; 64 MiB of them where they are not known, and two batches at least.
        decoding : bytes of files and decoded images at once.
        """
        image = 3 * backbone.size**2 * np.dtype(backbone.pixels).itemsize
        waiting = max(BYTES_AHEAD, 2 * backbone.batch * image) if ahead is None else ahead * image
        value = np.dtype(layout.dtype).itemsize
        row = value * (sum(layout.dims.values()) + MOMENTS_COPIES * max(layout.dims.values()))
        if process is None:
            process = PROCESS_BYTES + 2 * (backbone.location / backbone.files).size()
        return cls(process, at_once * layout.rows_per_shard * row, at_once * waiting, decoding)

    @classmethod
    def together(cls, each: Sequence[WorkerMemory]) -> WorkerMemory:
        """Of a worker that holds several backbones, as `of` assumes each alone: one process, whose libraries are there once."""
        return cls(
            process=PROCESS_BYTES + sum(one.process - PROCESS_BYTES for one in each),
            shards=sum(one.shards for one in each),
            ahead=sum(one.ahead for one in each),
            decoding=max(one.decoding for one in each),
            kept=max(one.kept for one in each),
        )

    @property
    def bytes(self) -> int:
        return self.process + self.shards + self.ahead + self.decoding + self.kept

    def __str__(self) -> str:
        parts = (
            f"{in_bytes(self.process)} the process with its backbone, {in_bytes(self.shards)} features being made, "
            f"{in_bytes(self.ahead)} images prepared ahead"
        )
        decoding = f", {in_bytes(self.decoding)} images being decoded" if self.decoding else ""
        return f"about {in_bytes(self.bytes)} a worker ({parts}{decoding}, {in_bytes(self.kept)} else)"

    def refuse_what_does_not_fit(self, workers: int, available: int | None = None) -> None:
        """Raises DataError where `workers` of them need more than this machine has; `available` bytes, asked of the kernel by default."""
        available = available_memory() if available is None else available
        if available is None or workers * self.bytes <= available:
            return
        fit = available // self.bytes
        fewer = f"Use --workers {fit}" if fit else "Use a machine with more memory"
        raise DataError(
            f"{workers} workers would hold {in_bytes(workers * self.bytes)}, {self}, and {in_bytes(available)} of memory are "
            f"available: the system would kill them on the way. {fewer}, a smaller storage.rows_per_shard or --batch; or pool the "
            "maps, or name fewer layers."
        )
