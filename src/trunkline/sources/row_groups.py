"""The images of one row group, read whole. The last ones are kept: shards read rows in order, and two shards run side by side."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.errors import StorageUnreachable, StoreError, UnreadableImage
from trunkline.locations import Location, reached
from trunkline.sources.objects import MISSING, UNREADABLE, look

MAX_GROUP_BYTES = 512 * 2**20
KEPT = 2

Key = tuple[str, int, str]
Group = tuple[pa.ChunkedArray, str]


def is_bytes(type_: pa.DataType) -> bool:
    """Whether a column can hold images."""
    if pa.types.is_struct(type_):
        at = type_.get_field_index("bytes")
        return at >= 0 and is_bytes(type_.field(at).type)
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))


def bytes_in_group(group: Any, column: str) -> int:
    """What a column of a row group takes in memory."""
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".", 1)[0] == column)


def row_group(base: Location, name: str, group: int, column: str, version: str | None) -> Group:
    """The images of a row group, (rows,), and the version of the file they come from.

    What is kept of `version` is given without asking the storage again; without a version, it is asked.

    Raises
    ------
    UnreadableImage : the file is missing, changed while it was read, broken or too large.
    StorageUnreachable : the disk or bucket does not answer.
    """
    try:
        place = base / name
    except StoreError as error:
        raise UnreadableImage("outside", "the place leaves the source") from error
    current = version if version is not None else look(place)[1]
    return _KEPT.get((place.uri, group, column), current, lambda: _read(place, group, column))


_NEVER: Future[Group] = Future()


class _Kept:
    """The last groups of this process; one thread reads a group, the others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: OrderedDict[Key, Future[Group]] = OrderedDict()

    def get(self, key: Key, version: str, load: Callable[[], Group]) -> Group:
        """The group, read (again) where what is kept is of another version."""
        with self._lock:
            future = self._groups.get(key, _NEVER)
            stale = future is _NEVER or (future.done() and (future.exception() is not None or future.result()[1] != version))
            if stale:
                future = self._groups[key] = Future()
            self._groups.move_to_end(key)
            while len(self._groups) > KEPT:
                self._groups.popitem(last=False)
        if stale:
            try:
                future.set_result(load())
            except BaseException as error:
                future.set_exception(error)
        return future.result()


_KEPT = _Kept()


def _read(place: Location, group: int, column: str) -> Group:
    before = look(place)[1]
    if before in (MISSING, UNREADABLE):
        raise UnreadableImage(before, "not there any more; scan again")
    images = _read_local(place, group, column) if place.is_local else _read_remote(place, group, column)
    if look(place)[1] != before:
        raise UnreadableImage("changed", f"{place.name} changed while it was read; scan again")
    return images, before


def _read_local(place: Location, group: int, column: str) -> pa.ChunkedArray:
    try:
        with pa.OSFile(place.uri) as file:
            return _column(file, place, group, column)
    except OSError as error:
        raise StorageUnreachable(
            f"Reading {place} failed ({error}). Check the disk, then start the same command again."
        ) from error


def _read_remote(place: Location, group: int, column: str) -> pa.ChunkedArray:
    found: pa.ChunkedArray | UnreadableImage
    with reached(place) as remote, remote.open(place.uri, "rb") as file:
        try:
            found = _column(file, place, group, column)
        except UnreadableImage as error:  # `reached` would take it for a refusal of the storage
            found = error
    if isinstance(found, UnreadableImage):
        raise found
    return found


def _column(file: Any, place: Location, group: int, column: str) -> pa.ChunkedArray:
    try:
        with pq.ParquetFile(file) as parquet:
            if group >= parquet.num_row_groups or column not in parquet.schema_arrow.names:
                raise UnreadableImage("changed", f"{place.name} has no such row group or column any more; scan again")
            if bytes_in_group(parquet.metadata.row_group(group), column) > MAX_GROUP_BYTES:
                raise UnreadableImage("too-large", f"row group {group} holds more than {MAX_GROUP_BYTES >> 20} MiB of images")
            return parquet.read_row_group(group, columns=[column], use_threads=False).column(column)
    except OSError as error:
        if error.errno is not None:
            raise
        raise UnreadableImage("corrupt", " ".join(str(error).split())) from error
    except (pa.ArrowInvalid, pa.ArrowException) as error:
        raise UnreadableImage("corrupt", " ".join(str(error).split())) from error
