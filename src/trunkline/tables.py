"""Parquet objects of a store: whole in memory or by row group, with words for a broken one."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.errors import CorruptStore
from trunkline.locations import Location, reached

PIECE_BYTES = 2**20  # read ahead of a remote object that is read in pieces


@contextlib.contextmanager
def open_parquet(
    location: Location, footer: pq.FileMetaData | None = None, *, in_pieces: bool = False, dictionaries: list[str] | None = None
) -> Iterator[pq.ParquetFile]:
    """A Parquet file of the store.

    Parameters
    ----------
    footer : its metadata, where they were read before.
    in_pieces : ask a remote storage only for the bytes that are wanted; else the object comes whole, in one request.
    dictionaries : columns that come as dictionaries.

    Raises
    ------
    FileNotFoundError, and CorruptStore where it is truncated or something else.
    """
    try:
        with (
            _opened(location, in_pieces) as source,
            pq.ParquetFile(source, metadata=footer, read_dictionary=dictionaries, page_checksum_verification=True) as file,
        ):
            yield file
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptStore(
            f"{location} cannot be read as Parquet ({error}); something else has damaged it. Restore it from a backup, or "
            "delete it and run again: a commit record or report is then made anew, a manifest batch is scanned anew."
        ) from error


def footer_of(location: Location) -> pq.FileMetaData:
    """The metadata of a Parquet file. Raises as `open_parquet` does."""
    with open_parquet(location, in_pieces=True) as file:
        return file.metadata


@contextlib.contextmanager
def _opened(location: Location, in_pieces: bool) -> Iterator[Any]:
    if location.is_local:
        yield location.path
    elif in_pieces:
        with reached(location) as remote, io.BufferedReader(_Pieces(remote, location.uri), PIECE_BYTES) as file:
            yield file
    else:
        yield io.BytesIO(location.read())


class _Pieces(io.RawIOBase):
    """A remote object read by ranges, each one a request that is tried again as whole objects are; files of s3fs are not."""

    def __init__(self, remote: Any, uri: str) -> None:
        self._remote, self._uri, self._at = remote, uri, 0
        self._size = int(remote.info(uri)["size"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._at))
        if count:
            content: bytes = self._remote.cat_file(self._uri, start=self._at, end=self._at + count)
            count = len(content)
            buffer[:count] = content
            self._at += count
        return count


def parquet_bytes(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """The table as one Parquet object, zstd-compressed, with a checksum a page: a flipped bit is an error and no other value."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=row_group_size, write_page_checksum=True)
    return out.getvalue()
