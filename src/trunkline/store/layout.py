"""How the features of a feature set lie in the store; fixed when it is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ArrayLayout:
    """Fixed when a feature set is created.

    Parameters
    ----------
    format : `zarr` or `hdf5`.
    rows_per_shard : a power of two.
    dims : layer → features a row.
    dtype : of the stored features.
    zstd_level : of the compression.
    maps : layer → (height, width, channels) where feature maps are kept; their product is the layer's dim.
    """

    format: str
    rows_per_shard: int
    dims: Mapping[str, int]
    dtype: str = "float32"
    zstd_level: int = 1
    maps: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def shape(self, layer: str) -> tuple[int, ...]:
        """What a row of a layer's array looks like: (dim,), or (height, width, channels)."""
        return tuple(self.maps.get(layer, (self.dims[layer],)))
