"""Feature arrays in HDF5 on a local disk: a part file a shard, and one virtual dataset over them.

Parts are written to a temporary file and moved. Sealing merges parts, so that `features.h5` never spans more than 500 files:
with more than the allowed number of open files HDF5 silently reads NaN.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.shards import Shard
from trunkline.store.layout import ArrayLayout

MAX_FILES = 500


@dataclass(frozen=True, order=True)
class Part:
    """A file that holds rows [start, stop) of every layer, void rows between them as NaN."""

    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"parts/{self.start:012d}-{self.stop:012d}.h5"

    @classmethod
    def of(cls, name: str) -> Part:
        start, stop = name.removesuffix(".h5").split("-")
        return cls(int(start), int(stop))


class Hdf5Arrays:
    """`parts/<start>-<stop>.h5`, each with a dataset a layer; `features.h5` with a virtual dataset a layer."""

    def __init__(self, location: Location, layout: ArrayLayout) -> None:
        self._location = location
        self._layout = layout
        self._rows = 0
        self._known: list[Part] = []

    def grow(self, rows: int) -> None:
        self._rows = rows
        self._link([part for part in self._linked() if self._path(part).exists()])

    def write(self, shard: Shard, features: Mapping[str, NDArray[np.float32]]) -> None:
        part = Part(shard.start, shard.stop)
        merged = _holding(self._list(), shard)
        if merged and merged != part:
            whole = {layer: self._read([merged], layer, merged.start, merged.stop) for layer in features}
            for layer, block in features.items():
                whole[layer][shard.start - merged.start : shard.stop - merged.start] = block
            part, features = merged, whole
        self._write_part(part, features)
        self._known = []

    def read(self, layer: str, start: int, stop: int, out: NDArray[Any] | None = None) -> NDArray[np.float32]:
        try:
            return self._read(self._known or self._list(), layer, start, stop, out)
        except FileNotFoundError:  # a writer has merged parts since they were listed
            return self._read(self._list(), layer, start, stop, out)

    def seal(self, committed: Sequence[Shard]) -> None:
        parts = self._list()
        holding = {shard: _holding(parts, shard) for shard in committed}
        missing = [shard.name for shard, part in holding.items() if part is None]
        if missing:
            raise CorruptStore(
                f"{self._location}/parts lacks the features of {len(missing)} committed shards, the first {missing[0]}: they would "
                "read as NaN. Restore the files, or delete their records under commits/, so that they are extracted again."
            )
        self._merge(sorted({part for part in holding.values() if part}))

    def is_sealed(self, committed: Sequence[Shard]) -> bool:
        linked = self._linked()
        return len(linked) <= MAX_FILES and set(linked) == set(self._files()) and all(_holding(linked, s) for s in committed)

    def uri(self) -> str:
        return (self._location / "features.h5").uri

    def objects_of(self, shard: Shard) -> list[Location]:
        part = _holding(self._list(), shard)
        return [self._location / part.name] if part else []

    def rows_of(self, name: str) -> tuple[int, int] | None:
        if not re.fullmatch(r"parts/\d{12}-\d{12}\.h5", name):
            return None
        part = Part.of(name.removeprefix("parts/"))
        return part.start, part.stop

    def replace(self, shard: Shard, features: Mapping[str, NDArray[np.float32]]) -> None:
        self.write(shard, features)

    def broken_headers(self, rows: int) -> dict[Location, str]:  # noqa: ARG002
        place = Location(self.uri())
        try:
            with h5py.File(place.path, "r", locking=False) as file:
                lacking = [layer for layer in self._layout.dims if layer not in file]
        except FileNotFoundError:
            return {place: "is not there"}
        except OSError as error:
            return {place: f"cannot be read ({error})"}
        return {place: f"lacks {', '.join(lacking)}"} if lacking else {}

    def unlinked(self, committed: Sequence[Shard]) -> list[Shard]:
        linked, held = self._linked(), self._list()
        return [shard for shard in committed if _holding(held, shard) and not _holding(linked, shard)]

    def _read(
        self, parts: list[Part], layer: str, start: int, stop: int, out: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        rows = np.empty((stop - start, self._layout.dims[layer]), self._layout.dtype) if out is None else out
        rows.fill(np.nan)
        maps = rows.reshape(len(rows), *self._layout.shape(layer))
        for part in parts[bisect_right(parts, start, key=lambda part: part.stop) :]:
            if part.start >= stop:
                break
            first, last = max(start, part.start), min(stop, part.stop)
            with h5py.File(self._path(part), "r", locking=False) as file:
                there, here = np.s_[first - part.start : last - part.start], np.s_[first - start : last - start]
                file[layer].read_direct(maps, there, here)
        return rows

    def _merge(self, parts: list[Part]) -> None:
        """Fewer, larger files; the old ones are deleted after the virtual dataset has left them."""
        rows = self._layout.rows_per_shard
        if len(parts) > MAX_FILES:
            while len({part.start // rows for part in parts}) > MAX_FILES // 2:
                rows *= 2
        groups = [list(group) for _, group in groupby(parts, key=lambda part: part.start // rows)]
        merged = [group[0] if len(group) == 1 else self._join(group) for group in groups]
        self._link(merged)
        for old in set(self._files()) - set(merged):  # those merged now, and those an interrupted merge left
            if any(whole.start <= old.start and old.stop <= whole.stop for whole in merged):
                self._path(old).unlink(missing_ok=True)
        self._known = merged

    def _join(self, parts: list[Part]) -> Part:
        """One file with the rows of several, copied part by part."""
        whole = Part(parts[0].start, parts[-1].stop)
        rows = whole.stop - whole.start
        with (self._location / whole.name).staged() as path, h5py.File(path, "w", libver="v110") as file:
            for layer in self._layout.dims:
                inner = self._layout.shape(layer)
                joined = file.create_dataset(
                    layer, (rows, *inner), self._layout.dtype, fillvalue=np.nan, **self._filters(layer, rows)
                )
                for part in parts:
                    copied = self._read([part], layer, part.start, part.stop)
                    joined[part.start - whole.start : part.stop - whole.start] = copied.reshape(-1, *inner)
        return whole

    def _write_part(self, part: Part, features: Mapping[str, NDArray[np.float32]]) -> None:
        with (self._location / part.name).staged() as path, h5py.File(path, "w", libver="v110") as file:
            for layer, block in features.items():
                whole = block.reshape(-1, *self._layout.shape(layer))
                file.create_dataset(layer, data=whole, **self._filters(layer, len(whole)))

    def _filters(self, layer: str, rows: int) -> dict[str, Any]:
        """Contiguous, or in compressed chunks; only filters that every HDF5 library has."""
        codec = self._layout.codec
        if codec.codec == "none":
            return {}
        chunks = (min(self._layout.rows_per_chunk(layer), rows), *self._layout.shape(layer))
        return {"chunks": chunks, "compression": codec.codec, "compression_opts": codec.level, "shuffle": True}

    def _link(self, parts: list[Part]) -> None:
        """Write `features.h5` anew over these parts."""
        rows = max([self._rows, *(part.stop for part in parts)])
        with (self._location / "features.h5").staged() as path, h5py.File(path, "w", libver="v110") as file:
            for layer in self._layout.dims:
                inner = self._layout.shape(layer)
                virtual = h5py.VirtualLayout((rows, *inner), self._layout.dtype)
                for part in parts:
                    source = h5py.VirtualSource(part.name, layer, (part.stop - part.start, *inner), self._layout.dtype)
                    virtual[part.start : part.stop] = source
                file.create_virtual_dataset(layer, virtual, fillvalue=np.nan)

    def _list(self) -> list[Part]:
        """The parts in order of rows; one that lies inside another is left from an interrupted merge."""
        found = sorted(self._files(), key=lambda part: (part.start, -part.stop))
        self._known = [part for number, part in enumerate(found) if number == 0 or part.stop > found[number - 1].stop]
        return self._known

    def _linked(self) -> list[Part]:
        """The parts that `features.h5` spans now."""
        try:
            with h5py.File(self.uri(), "r", locking=False) as file:
                dataset = file[next(iter(self._layout.dims))]
                sources = dataset.virtual_sources() if dataset.is_virtual else []
                return sorted(Part.of(source.file_name.removeprefix("parts/")) for source in sources)
        except FileNotFoundError:
            return []

    def _files(self) -> list[Part]:
        return [Part.of(name) for name in (self._location / "parts").names()]

    def _path(self, part: Part) -> Path:
        return (self._location / part.name).path


def _holding(parts: list[Part], shard: Shard) -> Part | None:
    """The part that holds the shard's rows."""
    number = bisect_right(parts, shard.start, key=lambda part: part.start) - 1
    return parts[number] if number >= 0 and parts[number].stop >= shard.stop else None
