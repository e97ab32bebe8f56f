"""How the features of a feature set lie in the store; fixed when it is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ArrayLayout:
    """Fixed when a feature set is created: format, rows a shard, layer → width, storage dtype, compression level."""

    format: str
    rows_per_shard: int
    dims: Mapping[str, int]
    dtype: str = "float32"
    zstd_level: int = 1
