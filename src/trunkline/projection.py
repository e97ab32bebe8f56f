"""What an extraction will write, said and judged before the first image is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trunkline.errors import StoreError
from trunkline.locations import Location
from trunkline.shards import MIN_ROWS
from trunkline.store.layout import ArrayLayout
from trunkline.wording import in_bytes

MAX_SHARD_BYTES = 512 * 2**20


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

    def __str__(self) -> str:
        free = "" if self.free is None else f", {in_bytes(self.free)} free"
        return (
            f"{self.rows:,} rows of {self.features:,} features: {in_bytes(self.rows * self.row_bytes)} before compression{free}"
        )

    def refuse_what_does_not_fit(self) -> None:
        """Raises StoreError where a shard would not fit into a worker, or all of it not onto the disk."""
        if self.row_bytes * MIN_ROWS > MAX_SHARD_BYTES:
            raise StoreError(
                f"A row would have {self.features:,} features ({in_bytes(self.row_bytes)}), so the smallest shard, {MIN_ROWS} rows, "
                f"{in_bytes(self.row_bytes * MIN_ROWS)}; workers hold at most {in_bytes(MAX_SHARD_BYTES)}. Pool the maps, name fewer "
                "layers, or cut later."
            )
        if self.free is not None and self.rows * self.row_bytes > self.free:
            raise StoreError(
                f"{self}. That does not fit onto the disk of {self.location}, and nothing was extracted. Pool the maps, name fewer layers, "
                "or give a --store with more room."
            )
