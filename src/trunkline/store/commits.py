"""Commit records: the small Parquet file that says a shard is done, row by row. It is created once, and last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from trunkline.blocks import FeatureBlock, Timings
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
        table = pa.Table.from_pylist([asdict(record) for record in block.records], SCHEMA)
        return cls(block.shard, table, recipe, rows_digest, lease, environment, timings)

    def to_bytes(self) -> bytes:
        said = {
            "shard": [self.shard.start, self.shard.stop],
            "recipe": self.recipe,
            "rows_digest": self.rows_digest,
            "lease": self.lease,
            "environment": dict(self.environment),
            "timings": asdict(self.timings),
        }
        return parquet_bytes(self.table.replace_schema_metadata({"trunkline.commit": json.dumps(said)}))


@dataclass(frozen=True)
class Commits:
    """The records of a feature set; `folder` is its `commits/`."""

    folder: Location

    def done(self) -> frozenset[str]:
        """Names of the committed shards: one listing, no file opened."""
        return frozenset(name.removesuffix(".parquet") for name in self.folder.names() if name.endswith(".parquet"))

    def create(self, commit: Commit) -> bool:
        """Write the record; False where the shard was committed already, whose record stays."""
        try:
            (self.folder / f"{commit.shard.name}.parquet").create(commit.to_bytes())
        except FileExistsError:
            return False
        return True

    def read(self, name: str) -> Commit:
        """The record of a shard. Raises CorruptStore where it is not what it should be."""
        place = self.folder / f"{name}.parquet"
        with open_parquet(place) as file:
            table = file.read()
        try:
            said: dict[str, Any] = json.loads(table.schema.metadata[b"trunkline.commit"])
            shard = Shard(*said["shard"])
            timings = Timings(**said["timings"])
            commit = Commit(shard, table, said["recipe"], said["rows_digest"], said["lease"], said["environment"], timings)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptStore(f"{place} is not a commit record. Delete it, so that its shard is extracted again.") from error
        if table.num_rows != shard.rows or shard.name != name:
            raise CorruptStore(
                f"{place} lists {table.num_rows} rows of shard {shard.name}, not the {shard.rows} of {name}. Delete it."
            )
        return commit
