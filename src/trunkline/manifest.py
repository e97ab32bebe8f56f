"""The manifest: an append-only table of a dataset's images, one row an image, rows never renumbered.

A batch is one immutable Parquet file: first the added images in row order (row groups of 1,024, so that a shard reads one
group), then the rows it removes. A changed image is a removal and an addition. Batches start on block boundaries; the
numbers left unused are void.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.shards import BLOCK, Shard
from trunkline.sources import Listed
from trunkline.tables import open_parquet

SCHEMA = pa.schema(
    [("row", pa.int64()), ("id", pa.string()), ("size", pa.int64()), ("version", pa.string()), ("removed", pa.bool_())]
)


@dataclass(frozen=True)
class Batch:
    """What one scan added: rows [start, stop), and the rows it removed, (n,) int64."""

    number: int
    start: int
    stop: int
    location: Location
    removed: NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """A listing against a manifest: images to add (new and changed), live rows to remove (gone and changed)."""

    added: Sequence[Listed]
    removed: Sequence[int]
    changed: int
    unchanged: int

    @property
    def is_empty(self) -> bool:
        return not self.added and not self.removed


@dataclass(frozen=True)
class Manifest:
    """All batches of a dataset, oldest first; `folder` is `datasets/<dataset>/manifest`."""

    folder: Location
    batches: tuple[Batch, ...]

    @classmethod
    def open(cls, folder: Location) -> Manifest:
        """Read the footers and removals of all batches. Raises CorruptStore where one is missing or unreadable."""
        names = [name for name in folder.names() if name.startswith("batch-")]
        if names != [_batch_name(number) for number in range(len(names))]:
            raise CorruptStore(f"The manifest {folder} has batches {names}: one is missing. Restore it from a backup.")
        return cls(folder, tuple(_read_batch(folder / name, number) for number, name in enumerate(names)))

    @property
    def rows(self) -> int:
        """One past the last row, void ones included."""
        return self.batches[-1].stop if self.batches else 0

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [(batch.start, batch.stop) for batch in self.batches]

    @cached_property
    def removed(self) -> NDArray[np.int64]:
        """Rows that any batch removed, sorted."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *(batch.removed for batch in self.batches)]))

    def images(self) -> pa.Table:
        """Every row that ever held an image: row, id, size, version, removed; in row order."""
        tables = [_added(batch) for batch in self.batches if batch.stop > batch.start]
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        return self._mark_removed(table)

    def read(self, shard: Shard) -> pa.Table:
        """The rows of one shard, as `images` gives them; reads one row group."""
        batch = next(b for b in self.batches if b.start <= shard.start < b.stop)
        group = (shard.start - batch.start) // BLOCK
        with open_parquet(batch.location) as file:
            table = file.read_row_group(group)
        first = (shard.start - batch.start) % BLOCK
        table = table.slice(first, shard.rows)
        return self._mark_removed(table)

    def _mark_removed(self, table: pa.Table) -> pa.Table:
        gone = pa.array(np.isin(table["row"].to_numpy(), self.removed), pa.bool_())
        return table.set_column(table.schema.get_field_index("removed"), "removed", gone)

    def compare(self, listing: Iterable[Listed]) -> Difference:
        """What a new listing changes."""
        table = self.images()
        live = table.filter(pc.invert(table["removed"]))
        known = dict(
            zip(live["id"].to_pylist(), zip(live["row"].to_pylist(), live["version"].to_pylist(), strict=True), strict=True)
        )
        added, removed, unchanged = [], [], 0
        for image in listing:
            row, version = known.pop(image.id, (None, None))
            if version == image.version:
                unchanged += 1
                continue
            added.append(image)
            if row is not None:
                removed.append(row)
        changed = len(removed)
        return Difference(added, sorted([*removed, *(row for row, _ in known.values())]), changed, unchanged)

    def append(self, difference: Difference) -> Manifest:
        """Write the difference as the next batch. Raises FileExistsError where another scan was faster."""
        number = len(self.batches)
        start = -(-self.rows // BLOCK) * BLOCK
        location = self.folder / _batch_name(number)
        location.create(_batch_bytes(start, difference))
        return Manifest(self.folder, (*self.batches, _read_batch(location, number)))


def _batch_name(number: int) -> str:
    return f"batch-{number:06d}.parquet"


def _batch_bytes(start: int, difference: Difference) -> bytes:
    stop = start + len(difference.added)
    schema = SCHEMA.with_metadata({"trunkline.start": str(start), "trunkline.stop": str(stop)})
    out = io.BytesIO()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for first in range(0, len(difference.added), BLOCK):
            some = difference.added[first : first + BLOCK]
            rows = range(start + first, start + first + len(some))
            writer.write_table(_table(rows, some, schema), row_group_size=BLOCK)
        if difference.removed:
            gone = [Listed("", 0, "")] * len(difference.removed)
            writer.write_table(_table(difference.removed, gone, schema, removed=True))
    return out.getvalue()


def _table(rows: Iterable[int], images: Sequence[Listed], schema: pa.Schema, removed: bool = False) -> pa.Table:
    ids, sizes, versions = [i.id for i in images], [i.size for i in images], [i.version for i in images]
    return pa.table([pa.array(rows, pa.int64()), ids, sizes, versions, [removed] * len(images)], schema=schema)


def _read_batch(location: Location, number: int) -> Batch:
    with open_parquet(location) as file:
        said = file.schema_arrow.metadata or {}
        try:
            start, stop = int(said[b"trunkline.start"]), int(said[b"trunkline.stop"])
        except (KeyError, ValueError) as error:
            raise CorruptStore(f"The manifest batch {location} does not say its rows; it is not trunkline's.") from error
        first = -(-(stop - start) // BLOCK)
        gone = [file.read_row_group(group, columns=["row"])["row"].to_numpy() for group in range(first, file.num_row_groups)]
    return Batch(number, start, stop, location, np.concatenate([np.empty(0, np.int64), *gone]))


def _added(batch: Batch) -> pa.Table:
    with open_parquet(batch.location) as file:
        return file.read().slice(0, batch.stop - batch.start)
