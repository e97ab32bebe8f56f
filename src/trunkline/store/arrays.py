"""The protocol of feature arrays, which Zarr and HDF5 both keep, and opening either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import StoreError
from trunkline.locations import Location
from trunkline.shards import Shard
from trunkline.store.layout import ArrayLayout


class FeatureArrays(Protocol):
    """One array a layer, (rows, dim); a row that was never written reads as NaN. Kept maps are stored as maps, and flat here."""

    def grow(self, rows: int) -> None:
        """Make the arrays, or lengthen them to `rows`; committed objects stay as they are. The driver calls it, under the lease."""

    def write(self, shard: Shard, features: Mapping[str, NDArray[np.float32]]) -> None:
        """Write a shard's own, aligned region: layer → (shard.rows, dim). Workers call it, each for its own shards."""

    def read(self, layer: str, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Rows [start, stop) of a layer, (stop − start, dim); in `out`, C-contiguous and of the stored dtype, where it is given."""

    def seal(self, committed: Sequence[Shard]) -> None:
        """Make what is committed readable by plain tools. The driver calls it at the end of a run, under the lease."""

    def is_sealed(self, committed: Sequence[Shard]) -> bool:
        """Whether plain tools can read all of these already."""

    def uri(self) -> str:
        """What a plain tool opens."""

    def objects_of(self, shard: Shard) -> list[Location]:
        """The objects that hold, or would hold, a shard's features; an HDF5 part may hold other shards too."""

    def rows_of(self, name: str) -> tuple[int, int] | None:
        """The rows [start, stop) that an object holds, by its path in the feature set; None where it is no part of the arrays."""

    def replace(self, shard: Shard, features: Mapping[str, NDArray[np.float32]]) -> None:
        """Put a shard's objects in the place of those that are there, each at once, whatever state those are in; under the lease."""

    def broken_headers(self, rows: int) -> dict[Location, str]:
        """What stands above the objects and does not fit the layout, and why; `grow` makes what was deleted of it anew."""

    def unlinked(self, committed: Sequence[Shard]) -> list[Shard]:
        """The shards whose features are there, but not yet where plain tools read."""


def open_arrays(location: Location, layout: ArrayLayout) -> FeatureArrays:
    """The arrays of a feature set. Raises StoreError for HDF5 anywhere but on a local disk."""
    if layout.format == "hdf5":
        from trunkline.store.hdf5 import Hdf5Arrays

        if not location.is_local:
            raise StoreError(f"HDF5 cannot be written to {location.scheme}:// ({location}). Use --format zarr there.")
        return Hdf5Arrays(location, layout)
    from trunkline.store.zarr import ZarrArrays

    return ZarrArrays(location, layout)
