"""Parquet objects of a store: whole in memory or by row group, with words for a broken one."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.errors import CorruptStore
from trunkline.locations import Location


@contextlib.contextmanager
def open_parquet(location: Location) -> Iterator[pq.ParquetFile]:
    """A Parquet file of the store. Raises FileNotFoundError, and CorruptStore where it is truncated or something else."""
    try:
        with pq.ParquetFile(location.path if location.is_local else io.BytesIO(location.read())) as file:
            yield file
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptStore(
            f"{location} cannot be read as Parquet ({error}); something else has damaged it. Restore it from a backup, or "
            "delete it and run again: a commit record or report is then made anew, a manifest batch is scanned anew."
        ) from error


def parquet_bytes(table: pa.Table, row_group_size: int | None = None) -> bytes:
    """The table as one Parquet object, zstd-compressed."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=row_group_size)
    return out.getvalue()
