"""Commit records: the small Parquet file that says a shard is done, row by row. It is created once, and last.

Thousands of them are slow to read one by one, so a run gathers them into `sealed/`, hundreds a file. That is a copy: the
records under `commits/` are the truth, and a sealed file counts only for shards whose record is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from typing import Any

import pyarrow as pa

from trunkline.blocks import FeatureBlock, RowRecord, Timings
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.shards import Shard
from trunkline.tables import open_parquet, parquet_bytes

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("version", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
        ("feature", pa.string()),
    ]
)
SEALED_AT_ONCE = 256  # a quarter of a million rows of 1,024 a shard, held in memory while they are sealed
MIN_SEALED = 64  # fewer are read one by one
READING_THREADS = 16


@dataclass(frozen=True)
class Commit:
    """One record: a table with a line a row, and what holds for the shard as a whole.

    `rows_digest` covers (row, id, version); `lease` is the fencing token of the run that wrote it; `environment` its fingerprint.
    """

    shard: Shard
    table: pa.Table
    recipe: str
    rows_digest: str
    lease: int
    environment: Mapping[str, str]
    timings: Timings

    @classmethod
    def of(
        cls, block: FeatureBlock, *, recipe: str, rows_digest: str, lease: int, environment: Mapping[str, str], timings: Timings
    ) -> Commit:
        columns = dict(zip(RowRecord._fields, zip(*block.records, strict=True), strict=True))
        table = pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}, SCHEMA)
        return cls(block.shard, table, recipe, rows_digest, lease, environment, timings)

    def said(self) -> dict[str, Any]:
        """What holds for the shard as a whole, as JSON."""
        return {
            "shard": [self.shard.start, self.shard.stop],
            "recipe": self.recipe,
            "rows_digest": self.rows_digest,
            "lease": self.lease,
            "environment": dict(self.environment),
            "timings": asdict(self.timings),
        }

    @classmethod
    def of_said(cls, said: Mapping[str, Any], table: pa.Table) -> Commit:
        """Raises KeyError, TypeError or ValueError where it was not `said` that made it."""
        shard = Shard(*said["shard"])
        timings = Timings(**said["timings"])
        return cls(shard, table, said["recipe"], said["rows_digest"], said["lease"], said["environment"], timings)

    def to_bytes(self) -> bytes:
        return parquet_bytes(self.table.replace_schema_metadata({"trunkline.commit": json.dumps(self.said())}))


@dataclass(frozen=True)
class _Sealed:
    """A file of several records: name → where its rows start in the file, and what it says as a whole."""

    location: Location
    records: Mapping[str, tuple[int, Mapping[str, Any]]]

    def table(self, columns: Sequence[str] | None) -> pa.Table | None:
        """None where it is damaged, or a writer has deleted it since it was listed."""
        try:
            with open_parquet(self.location, in_pieces=columns is not None) as file:
                return file.read(columns=columns)
        except (CorruptStore, FileNotFoundError):
            return None

    def commit(self, name: str, table: pa.Table) -> Commit:
        start, said = self.records[name]
        first, last = said["shard"]
        return Commit.of_said(said, table.slice(start, last - first))


@dataclass(frozen=True)
class Commits:
    """The records of a feature set; `folder` is its `commits/`, `sealed` the folder of their copies."""

    folder: Location
    sealed: Location

    def done(self) -> frozenset[str]:
        """Names of the committed shards: one listing, no file opened."""
        return frozenset(name.removesuffix(".parquet") for name in self.folder.names() if name.endswith(".parquet"))

    def has(self, name: str) -> bool:
        return self._place(name).exists()

    def create(self, commit: Commit) -> bool:
        """Write the record; False where the shard was committed already, whose record stays."""
        try:
            self._place(commit.shard.name).create(commit.to_bytes())
        except FileExistsError:
            return False
        return True

    def replace(self, commit: Commit) -> None:
        """Write the record anew; only a purge does, under the lease, after `unseal`."""
        self._place(commit.shard.name).write(commit.to_bytes())

    def read(self, name: str) -> Commit:
        """The record of a shard. Raises CorruptStore where it is not what it should be."""
        place = self._place(name)
        with open_parquet(place) as file:
            table = file.read()
        try:
            commit = Commit.of_said(json.loads(table.schema.metadata[b"trunkline.commit"]), table)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptStore(f"{place} is not a commit record. Delete it, so that its shard is extracted again.") from error
        if table.num_rows != commit.shard.rows or commit.shard.name != name:
            raise CorruptStore(
                f"{place} lists {table.num_rows} rows of shard {commit.shard.name}, not the {commit.shard.rows} of {name}. Delete it."
            )
        return commit

    def each(self, names: Collection[str], columns: Sequence[str] | None = None) -> Iterator[Commit]:
        """The records of these committed shards, in row order, with all or some columns; sealed ones are not opened one by one."""
        where = {name: sealed for sealed in self._sealed() for name in sealed.records}
        for sealed, some in groupby(sorted(names), where.get):
            table = sealed.table(columns) if sealed else None
            if sealed is None or table is None:
                yield from self._one_by_one(some, columns)
            else:
                yield from (sealed.commit(name, table) for name in some)

    def loose(self, names: Collection[str]) -> set[str]:
        """Those of these committed shards whose records are in no sealed file."""
        return set(names).difference(*(sealed.records for sealed in self._sealed()))

    def seal(self, check: Callable[[Commit], None]) -> None:
        """Gather the records that are in no sealed file, if there are many; `check` raises for one that must not be. Under the lease."""
        for names in _some(sorted(self.loose(self.done())), SEALED_AT_ONCE):
            if len(names) < MIN_SEALED:
                return
            records, tables, start = {}, [], 0
            for commit in self._one_by_one(names, None):
                check(commit)
                records[commit.shard.name] = (start, commit.said())
                tables.append(commit.table.replace_schema_metadata(None))
                start += commit.shard.rows
            said = json.dumps(records)
            named = {"trunkline.sealed": said, "trunkline.digest": _digest(said.encode())}
            table = pa.concat_tables(tables).replace_schema_metadata(named)
            (self.sealed / f"{names[0]}-{names[-1]}-{len(names)}.parquet").write(parquet_bytes(table, 65_536))

    def unseal(self, names: Collection[str]) -> None:
        """Delete the sealed files that hold any of these, before their records are written or removed. Under the lease."""
        for sealed in self._sealed():
            if not sealed.records.keys().isdisjoint(names):
                sealed.location.remove()

    def forget(self, names: Iterable[str]) -> None:
        """Remove the records of these shards, which are then invisible and extracted again. Under the lease."""
        gone = list(names)
        self.unseal(gone)
        for name in gone:
            self._place(name).remove()

    def _one_by_one(self, names: Iterable[str], columns: Sequence[str] | None) -> Iterator[Commit]:
        with ThreadPoolExecutor(READING_THREADS) as threads:
            for some in _some(names, 4 * READING_THREADS):
                for commit in threads.map(self.read, some):
                    yield commit if columns is None else _narrowed(commit, columns)

    def _sealed(self) -> list[_Sealed]:
        """The sealed files; one that is damaged or was just deleted does not count, as it is only a copy."""
        found = []
        for name in self.sealed.names():
            try:
                with open_parquet(self.sealed / name, in_pieces=True) as file:
                    named = file.schema_arrow.metadata
                    intact = named[b"trunkline.digest"].decode() == _digest(named[b"trunkline.sealed"])
                    if not intact or not file.schema_arrow.equals(SCHEMA):
                        continue
                    records = json.loads(named[b"trunkline.sealed"])
                    found.append(_Sealed(self.sealed / name, {each: tuple(said) for each, said in records.items()}))
            except (CorruptStore, FileNotFoundError, KeyError, TypeError, ValueError, AttributeError):
                continue
        return found

    def _place(self, name: str) -> Location:
        return self.folder / f"{name}.parquet"


def _digest(said: bytes) -> str:
    """Of what a sealed file says of its records: Parquet has checksums of its pages alone."""
    return hashlib.sha256(said).hexdigest()


def _narrowed(commit: Commit, columns: Sequence[str]) -> Commit:
    return Commit.of_said(commit.said(), commit.table.select(list(columns)))


def _some(names: Iterable[str], count: int) -> Iterator[tuple[str, ...]]:
    remaining = iter(names)
    while some := tuple(islice(remaining, count)):
        yield some
