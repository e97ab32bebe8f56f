"""How the features of a feature set lie in the store; fixed when it is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.compression import Compression
from trunkline.errors import StoreError
from trunkline.locations import Location
from trunkline.specs import StorageSpec

MAX_CHUNK_ROWS = 128
MAX_CHUNK_BYTES = 4 * 2**20  # what a reader of one row fetches at most, wide rows aside


@dataclass(frozen=True)
class ArrayLayout:
    """Fixed when a feature set is created.

    Parameters
    ----------
    format : `zarr` or `hdf5`.
    rows_per_shard : a power of two.
    dims : layer → features a row.
    dtype : of the stored features, `float32` or `float16`.
    compression : as `Compression.of` takes it; the format's own by default. Kept with its level: `zstd-1`.
    maps : layer → (height, width, channels) where feature maps are kept; their product is the layer's dim.
    """

    format: str
    rows_per_shard: int
    dims: Mapping[str, int]
    dtype: str = "float32"
    compression: str = ""
    maps: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compression", str(Compression.of(self.compression, self.format)))

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> ArrayLayout:
        """From layout.json. Raises TypeError, ValueError or KeyError for one that is foreign or newer."""
        given = dict(said)
        level = given.pop("zstd_level", 1)  # from before there was a choice: zstd in Zarr, nothing in HDF5
        if "compression" not in given:
            given["compression"] = f"zstd-{level}" if given["format"] == "zarr" else "none"
        if not isinstance(given["compression"], str):
            raise TypeError(f"compression is {given['compression']!r}")
        return cls(**given)

    @property
    def codec(self) -> Compression:
        return Compression.of(self.compression, self.format)

    def shape(self, layer: str) -> tuple[int, ...]:
        """What a row of a layer's array looks like: (dim,), or (height, width, channels)."""
        return tuple(self.maps.get(layer, (self.dims[layer],)))

    def rows_per_chunk(self, layer: str) -> int:
        """A power of two that divides the shard: 64 to 128 rows, fewer of wide ones."""
        rows = min(self.rows_per_shard, MAX_CHUNK_ROWS)
        while rows > 1 and rows * self.dims[layer] * np.dtype(self.dtype).itemsize > MAX_CHUNK_BYTES:
            rows //= 2
        return rows

    def refuse_another(self, asked: StorageSpec, location: Location) -> None:
        """Raises StoreError where a spec asks for what this feature set at `location` is not; what it leaves out stays."""
        if asked.format != self.format:
            raise StoreError(
                f"{location} is stored as {self.format}; the format is fixed when a feature set is created. "
                f"Use --format {self.format}, or another --store for {asked.format}."
            )
        if asked.rows_per_shard and asked.rows_per_shard != self.rows_per_shard:
            raise StoreError(
                f"{location} has {self.rows_per_shard} rows a shard, not {asked.rows_per_shard}; that is fixed when a feature set is "
                "created. Leave out rows_per_shard, or use another --store."
            )
        if asked.compression and (wanted := Compression.of(asked.compression, self.format)) != self.codec:
            raise StoreError(
                f"{location} is compressed by {self.codec}, not {wanted}; that is fixed when a feature set is created. "
                f"Leave out --compression, or use another --store for {wanted}."
            )


def cast(features: NDArray[Any], dtype: str) -> NDArray[Any]:
    """As they are stored: rounded to the nearest value of `dtype`; beyond its range (65,504 for float16) they become infinity."""
    with np.errstate(over="ignore"):
        return features.astype(dtype, copy=False)
