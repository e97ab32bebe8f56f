"""Feature arrays in Zarr v3 with the sharding codec: one object a shard, on any fsspec URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
import zarr.codecs
import zarr.storage
from numpy.typing import NDArray

from trunkline.compression import Compression
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.shards import Shard
from trunkline.store.layout import ArrayLayout

FOLDER = "features.zarr"


class ZarrArrays:
    """`features.zarr/<layer>`, (rows, dim) or (rows, height, width, channels), one object a shard, chunks of up to 128 rows inside it."""

    def __init__(self, location: Location, layout: ArrayLayout) -> None:
        self._root = location / FOLDER
        self._layout = layout
        self._open: dict[str, Any] = {}

    def grow(self, rows: int) -> None:
        group: Any = zarr.open_group(self._place(), mode="a", zarr_format=3)
        for layer in self._layout.dims:
            inner = self._layout.shape(layer)
            if layer not in group:
                group.create_array(
                    layer,
                    shape=(rows, *inner),
                    dtype=self._layout.dtype,
                    chunks=(self._layout.rows_per_chunk(layer), *inner),
                    shards=(self._layout.rows_per_shard, *inner),
                    compressors=_codec(self._layout.codec),
                    fill_value=float("nan"),
                    dimension_names=("row", "feature") if len(inner) == 1 else ("row", "height", "width", "channel"),
                )
            elif group[layer].shape[0] < rows:
                group[layer].resize((rows, *inner))
        self._open.clear()

    def write(self, shard: Shard, features: Mapping[str, NDArray[np.float32]]) -> None:
        for layer, block in features.items():
            self._array(layer)[shard.start : shard.stop] = block.reshape(shard.rows, *self._layout.shape(layer))

    def read(self, layer: str, start: int, stop: int) -> NDArray[np.float32]:
        try:
            rows = np.asarray(self._array(layer)[start:stop])
        except (RuntimeError, ValueError) as error:  # what codecs raise: a checksum that does not match, a broken frame
            raise CorruptStore(
                f"Rows {start} to {stop} of {self._root / layer} are damaged ({error}). Restore the object, or delete the commit records "
                "of these rows, so that they are extracted again."
            ) from error
        return rows.reshape(stop - start, self._layout.dims[layer])

    def seal(self, committed: Sequence[Shard]) -> None:
        """Nothing to do: objects are final when they are written."""

    def is_sealed(self, committed: Sequence[Shard]) -> bool:  # noqa: ARG002
        return True

    def uri(self) -> str:
        return self._root.uri

    def _array(self, layer: str) -> Any:
        if layer not in self._open:
            self._open[layer] = zarr.open_array(self._place(layer), mode="r+", zarr_format=3)
        return self._open[layer]

    def _place(self, layer: str = "") -> Any:
        place = self._root / layer if layer else self._root
        return str(place.path) if place.is_local else zarr.storage.FsspecStore.from_url(place.uri)


def _codec(compression: Compression) -> Any:
    """The compressor of an array; None where its chunks are stored as they are."""
    match compression.codec:
        case "none":
            return None
        case "zstd":
            return zarr.codecs.ZstdCodec(level=compression.level)
        case "gzip":
            return zarr.codecs.GzipCodec(level=compression.level)
        case codec:
            name: Any = codec.removeprefix("blosc-")
            return zarr.codecs.BloscCodec(cname=name, clevel=compression.level, shuffle="shuffle")
