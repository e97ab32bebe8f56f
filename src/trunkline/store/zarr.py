"""Feature arrays in Zarr v3 with the sharding codec: one object a shard, on any fsspec URL."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
import zarr.codecs
import zarr.storage
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.shards import Shard
from trunkline.store.layout import ArrayLayout

FOLDER = "features.zarr"
MAX_CHUNK_ROWS = 128
MAX_CHUNK_BYTES = 4 * 2**20  # what a reader of one row fetches at most, wide rows aside


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
                    chunks=(_rows_per_chunk(self._layout, layer), *inner),
                    shards=(self._layout.rows_per_shard, *inner),
                    compressors=zarr.codecs.ZstdCodec(level=self._layout.zstd_level),
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

    def objects_of(self, shard: Shard) -> list[Location]:
        number = shard.start // self._layout.rows_per_shard
        return [
            self._root / "/".join([layer, "c", str(number), *("0" for _ in self._layout.shape(layer))])
            for layer in self._layout.dims
        ]

    def rows_of(self, name: str) -> tuple[int, int] | None:
        layer, _, place = name.removeprefix(f"{FOLDER}/").partition("/c/")
        number, *rest = place.split("/")
        if not name.startswith(f"{FOLDER}/") or layer not in self._layout.dims or not number.isdecimal():
            return None
        if rest != ["0"] * len(self._layout.shape(layer)):
            return None
        rows = self._layout.rows_per_shard
        return int(number) * rows, (int(number) + 1) * rows

    def replace(self, shard: Shard, features: Mapping[str, NDArray[np.float32]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            apart = ZarrArrays(Location(folder), self._layout)
            apart.grow(shard.stop)
            apart.write(shard, features)
            for made, place in zip(apart.objects_of(shard), self.objects_of(shard), strict=True):
                if made.exists():
                    place.write(made.read())
                else:
                    place.remove()  # nothing but NaN is no object at all

    def broken_headers(self, rows: int) -> dict[Location, str]:
        found: dict[Location, str] = {}
        try:
            zarr.open_group(self._place(), mode="r", zarr_format=3)
        except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
            found[self._root / "zarr.json"] = f"cannot be read ({error})"
        for layer in self._layout.dims:
            try:
                array = self._array(layer)
            except FileNotFoundError:
                found[self._root / f"{layer}/zarr.json"] = "is not there"
            except (KeyError, TypeError, ValueError) as error:
                found[self._root / f"{layer}/zarr.json"] = f"cannot be read ({error})"
            else:
                inner, dtype = self._layout.shape(layer), self._layout.dtype
                if array.shape[1:] != inner or array.dtype != dtype or array.shards != (self._layout.rows_per_shard, *inner):
                    said = f"{array.shape}, {array.dtype}, {array.shards} a shard"
                    found[self._root / f"{layer}/zarr.json"] = f"says {said}, which is not this feature set's layout"
                elif array.shape[0] < rows:
                    found[self._root / f"{layer}/zarr.json"] = f"says {array.shape[0]} rows, and {rows} are committed"
        return found

    def unlinked(self, committed: Sequence[Shard]) -> list[Shard]:  # noqa: ARG002
        return []

    def _array(self, layer: str) -> Any:
        if layer not in self._open:
            self._open[layer] = zarr.open_array(self._place(layer), mode="r+", zarr_format=3)
        return self._open[layer]

    def _place(self, layer: str = "") -> Any:
        place = self._root / layer if layer else self._root
        return str(place.path) if place.is_local else zarr.storage.FsspecStore.from_url(place.uri)


def _rows_per_chunk(layout: ArrayLayout, layer: str) -> int:
    """A power of two that divides the shard: 64 to 128 rows, fewer of wide ones."""
    rows = min(layout.rows_per_shard, MAX_CHUNK_ROWS)
    while rows > 1 and rows * layout.dims[layer] * np.dtype(layout.dtype).itemsize > MAX_CHUNK_BYTES:
        rows //= 2
    return rows
