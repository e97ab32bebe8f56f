"""The manifest: an append-only table of a dataset's images, one row an image, rows never renumbered.

A batch is one immutable Parquet file: first the added images in row order (row groups of 1,024, so that a shard reads one
group), then the rows it removes, each with the row that takes its place, if one does. A changed image is a removal and an
addition; so is a renamed one. Batches start on block boundaries; the numbers left unused are void.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.shards import BLOCK, Shard
from trunkline.tables import footer_of, open_parquet

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("size", pa.int64()),
        ("version", pa.string()),
        ("place", pa.string()),
        ("successor", pa.int64()),
        ("removed", pa.bool_()),
    ]
)
IMAGE_COLUMNS = ("row", "id", "size", "version", "place")
BLOCKS_AT_ONCE = 64
OPENING_THREADS = 8
NONE = -1  # as a row number: no successor

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """What a scan added: rows [start, stop), and the rows it removed, (n,) int64, each with its successor or −1."""

    number: int
    start: int
    stop: int
    location: Location
    removed: Rows
    successors: Rows
    footer: pq.FileMetaData = field(repr=False, compare=False)

    @property
    def is_large(self) -> bool:
        return self.blocks > BLOCKS_AT_ONCE

    @property
    def scanned(self) -> datetime:
        """When its scan wrote it, in UTC; of batches that do not say so, when their file was modified last."""
        said = (self.footer.metadata or {}).get(b"trunkline.scanned", b"").decode()
        try:
            return datetime.fromisoformat(said).astimezone(UTC)
        except ValueError:
            return self.location.modified()

    @property
    def blocks(self) -> int:
        """Row groups that hold images."""
        return -(-(self.stop - self.start) // BLOCK)


@dataclass(frozen=True)
class Manifest:
    """All batches of a dataset, oldest first; `folder` is `datasets/<dataset>/manifest`."""

    folder: Location
    batches: tuple[Batch, ...]

    @classmethod
    def open(cls, folder: Location) -> Manifest:
        """Read the footers and removals of all batches. Raises CorruptStore where one is missing or unreadable."""
        names = [name for name in folder.names() if name.startswith("batch-")]
        if names != [batch_name(number) for number in range(len(names))]:
            raise CorruptStore(f"The manifest {folder} has batches {names}: one is missing. Restore it from a backup.")
        with ThreadPoolExecutor(OPENING_THREADS) as threads:
            return cls(folder, tuple(threads.map(_read_batch, (folder / name for name in names), range(len(names)))))

    @property
    def rows(self) -> int:
        """One past the last row, void ones included."""
        return self.batches[-1].stop if self.batches else 0

    @property
    def image_count(self) -> int:
        """Rows that hold or held an image."""
        return sum(batch.stop - batch.start for batch in self.batches)

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [(batch.start, batch.stop) for batch in self.batches]

    @cached_property
    def removed(self) -> Rows:
        """Rows that any batch removed, sorted."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *(batch.removed for batch in self.batches)]))

    @cached_property
    def _successions(self) -> tuple[Rows, Rows]:
        """Rows that took the place of others, ascending, and those others."""
        news, olds = (
            np.concatenate([np.empty(0, np.int64), *(getattr(batch, name) for batch in self.batches)])
            for name in ("successors", "removed")
        )
        order = np.argsort(news, kind="stable")
        order = order[news[order] != NONE]
        return news[order], olds[order]

    def predecessor(self, row: int) -> int | None:
        """The row that this one took the place of: an earlier version of its image, or the same image under another name."""
        found = int(self.predecessors(np.array([row]))[0])
        return None if found == NONE else found

    def predecessors(self, rows: Rows) -> Rows:
        """(n,) int64: `predecessor` of each, −1 where there is none."""
        news, olds = self._successions
        if not len(news):
            return np.full(len(rows), NONE)
        places = np.minimum(np.searchsorted(news, rows), len(news) - 1)
        return np.where(news[places] == rows, olds[places], NONE)

    def as_of(self, batch: int) -> Manifest:
        """As it was when this batch was the last. Raises IndexError where there is none."""
        if not 0 <= batch < len(self.batches):
            raise IndexError(batch)
        return Manifest(self.folder, self.batches[: batch + 1])

    def live(self) -> NDArray[np.bool_]:
        """(rows,) bool: which rows hold an image that is there; void and removed ones do not."""
        live = np.zeros(self.rows, bool)
        for start, stop in self.spans:
            live[start:stop] = True
        live[self.removed] = False
        return live

    def chunks(self, columns: Sequence[str] = IMAGE_COLUMNS) -> Iterator[pa.Table]:
        """Every row that ever held an image, in row order, some 65,536 rows at a time; `removed` may be among the columns."""
        stored = [name for name in columns if name != "removed"]
        for batch in self.batches:
            with open_parquet(batch.location, batch.footer, in_pieces=batch.is_large) as file:
                for first in range(0, batch.blocks, BLOCKS_AT_ONCE):
                    groups = list(range(first, min(first + BLOCKS_AT_ONCE, batch.blocks)))
                    start = batch.start + first * BLOCK
                    table = _completed(file, groups, stored)
                    yield self._with_removed(table, start) if "removed" in columns else table

    def images(self) -> pa.Table:
        """Every row that ever held an image, in row order: the image columns and `removed`; for small datasets and people."""
        columns = (*IMAGE_COLUMNS, "removed")
        empty = pa.schema([SCHEMA.field(name) for name in columns]).empty_table()
        return pa.concat_tables([empty, *self.chunks(columns)])

    def take(self, rows: Rows, columns: Sequence[str] = IMAGE_COLUMNS) -> pa.Table:
        """The lines of these rows, which ascend and hold or held an image; reads the row groups that hold them."""
        wanted = list(dict.fromkeys(["row", *columns]))
        empty = pa.schema([SCHEMA.field(name) for name in wanted]).empty_table()
        return pa.concat_tables([empty, *self._taken(rows, wanted)]).select(list(columns))

    def _taken(self, rows: Rows, columns: Sequence[str]) -> Iterator[pa.Table]:
        for batch in self.batches:
            inside = rows[slice(*np.searchsorted(rows, (batch.start, batch.stop)))]
            if not len(inside):
                continue
            blocks = np.unique((inside - batch.start) // BLOCK)
            with open_parquet(batch.location, batch.footer, in_pieces=batch.is_large) as file:
                for first in range(0, len(blocks), BLOCKS_AT_ONCE):
                    groups = blocks[first : first + BLOCKS_AT_ONCE].tolist()
                    table = _completed(file, groups, columns)
                    low, high = batch.start + groups[0] * BLOCK, batch.start + (groups[-1] + 1) * BLOCK
                    here = inside[slice(*np.searchsorted(inside, (low, high)))]
                    yield table.take(pa.array(np.searchsorted(table["row"].to_numpy(), here)))

    def read(self, shard: Shard) -> pa.Table:
        """The rows of one shard: the image columns and `removed`; reads one row group."""
        batch = next(b for b in self.batches if b.start <= shard.start < b.stop)
        with open_parquet(batch.location, batch.footer, in_pieces=batch.is_large) as file:
            table = _completed(file, [(shard.start - batch.start) // BLOCK], IMAGE_COLUMNS)
        return self._with_removed(table.slice((shard.start - batch.start) % BLOCK, shard.rows), shard.start)

    def _with_removed(self, table: pa.Table, start: int) -> pa.Table:
        gone = np.zeros(len(table), bool)
        first, last = np.searchsorted(self.removed, (start, start + len(table)))
        gone[self.removed[first:last] - start] = True
        return table.append_column("removed", pa.array(gone))

    def append(self, drafted: Sequence[Path]) -> Manifest:
        """Make the drafted files the next batches. Raises FileExistsError where another scan was faster."""
        batches = list(self.batches)
        for path in drafted:
            location = self.folder / batch_name(len(batches))
            location.create(path.read_bytes())
            batches.append(_read_batch(location, len(batches)))
        return Manifest(self.folder, tuple(batches))


def batch_name(number: int) -> str:
    return f"batch-{number:06d}.parquet"


def _read_batch(location: Location, number: int) -> Batch:
    footer = footer_of(location)
    said = footer.metadata or {}
    try:
        start, stop = int(said[b"trunkline.start"]), int(said[b"trunkline.stop"])
    except (KeyError, ValueError) as error:
        raise CorruptStore(f"The manifest batch {location} does not say its rows; it is not trunkline's.") from error
    groups = list(range(-(-(stop - start) // BLOCK), footer.num_row_groups))
    removed = successors = np.empty(0, np.int64)
    if groups:
        with open_parquet(location, footer, in_pieces=True) as file:
            gone = _completed(file, groups, ("row", "successor"))
        removed, successors = gone["row"].to_numpy(), gone["successor"].fill_null(NONE).to_numpy()
    return Batch(number, start, stop, location, removed, successors, footer)


def _completed(file: pq.ParquetFile, groups: list[int], columns: Sequence[str]) -> pa.Table:
    """These row groups and columns; what an older batch does not have is empty."""
    there = set(file.schema_arrow.names)
    table = file.read_row_groups(groups, columns=[name for name in columns if name in there])
    for name in columns:
        if name not in there:
            kind = SCHEMA.field(name).type
            empty = pa.repeat("", len(table)) if kind == pa.string() else pa.nulls(len(table), kind)
            table = table.append_column(name, empty)
    return table.select(list(columns))
