"""Feature arrays in Zarr v3 with the sharding codec: one object a shard, on any fsspec URL."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
import zarr.buffer
import zarr.codecs
import zarr.storage
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from trunkline.compression import Compression
from trunkline.errors import CorruptStore
from trunkline.locations import Location, filesystem, reached
from trunkline.shards import Shard
from trunkline.store.layout import ArrayLayout

FOLDER = "features.zarr"


class ZarrArrays:
    """`features.zarr/<layer>`, (rows, dim) or (rows, height, width, channels), one object a shard, chunks of up to 128 rows inside it."""

    def __init__(self, location: Location, layout: ArrayLayout) -> None:
        self._root = location / FOLDER
        self._layout = layout
        self._open: dict[str, Any] = {}
        self._open_blank: dict[str, Any] = {}

    def grow(self, rows: int) -> None:
        with reached(self._root):
            self._grow(rows)

    def _grow(self, rows: int) -> None:
        group: Any = zarr.open_group(self._store(self._root), mode="a", zarr_format=3)
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
        self._open_blank.clear()

    def write(self, shard: Shard, features: Mapping[str, NDArray[np.float32]]) -> None:
        with reached(self._root):
            for layer, block in features.items():
                if layer not in self._open_blank:
                    self._open_blank[layer] = zarr.open_array(_Blank(self._store(self._root / layer)), mode="r+", zarr_format=3)
                self._open_blank[layer][shard.start : shard.stop] = block.reshape(shard.rows, *self._layout.shape(layer))

    def read(self, layer: str, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[np.float32]:
        rows = np.empty((stop - start, self._layout.dims[layer]), self._layout.dtype) if out is None else out
        with reached(self._root):
            try:
                array = self._array(layer)
                maps: Any = rows.reshape(len(rows), *array.shape[1:])
                array.get_basic_selection(slice(start, stop), out=zarr.buffer.cpu.NDBuffer(maps))
            except (RuntimeError, ValueError) as error:  # what codecs raise: a checksum that does not match, a broken frame
                raise CorruptStore(
                    f"Rows {start} to {stop} of {self._root / layer} are damaged ({error}). Restore the object, or delete the commit "
                    "records of these rows, so that they are extracted again."
                ) from error
        return rows

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
            zarr.open_group(self._store(self._root), mode="r", zarr_format=3)
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
            self._open[layer] = zarr.open_array(self._store(self._root / layer), mode="r+", zarr_format=3)
        return self._open[layer]

    def _store(self, place: Location) -> Any:
        if place.is_local:
            return zarr.storage.LocalStore(place.path)
        if place.scheme in ("s3", "s3a"):  # with the retries of `Location`
            return zarr.storage.FsspecStore(filesystem(place.scheme, asynchronous=True), path=place.uri.split("://", 1)[1])
        return zarr.storage.FsspecStore.from_url(place.uri)


class _Blank(zarr.storage.WrapperStore[Any]):
    """Shows headers and no data: a shard is written whole, so what a dead run left of it is neither fetched nor decoded, only replaced."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        return await super().get(key, prototype, byte_range) if key.endswith("zarr.json") else None


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
