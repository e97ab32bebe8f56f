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
        with reached(location) as remote, remote.open(location.uri, "rb", block_size=PIECE_BYTES, cache_type="bytes") as file:
            yield file
    else:
        yield io.BytesIO(location.read())


def parquet_bytes(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """The table as one Parquet object, zstd-compressed, with a checksum a page: a flipped bit is an error and no other value."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=row_group_size, write_page_checksum=True)
    return out.getvalue()
