"""Every row is accounted for: what became of each row of a manifest under one recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trunkline.blocks import Status
from trunkline.errors import CorruptStore
from trunkline.manifest import Manifest
from trunkline.shards import Shard
from trunkline.store.commits import Commit


@dataclass(frozen=True)
class RowCounts:
    """Live rows by what became of them, removed rows whatever became of them, void rows.

    `ok + quarantined + pending = live`, and `live + removed + void = rows` of the manifest.
    """

    ok: int
    quarantined: int
    pending: int
    removed: int = 0
    void: int = 0

    @property
    def live(self) -> int:
        return self.ok + self.quarantined + self.pending

    @property
    def rows(self) -> int:
        return self.live + self.removed + self.void


@dataclass(frozen=True)
class Account:
    """The counts, and the reasons of the live quarantined rows."""

    counts: RowCounts
    reasons: Mapping[str, int]


def account(manifest: Manifest, commits: Iterable[Commit]) -> Account:
    """Count the rows of a manifest over the commit records there are; `row`, `status` and `reason` are all it reads of them."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for commit in commits:
        table = _without(commit.table, manifest.removed, commit.shard)
        for counted, column in ((statuses, "status"), (reasons, "reason")):
            for each in pc.value_counts(table[column]).to_pylist():
                counted[each["values"]] += each["counts"]
    reasons.pop("", None)
    images, removed = manifest.image_count, len(manifest.removed)
    ok, quarantined = statuses[Status.OK], statuses[Status.QUARANTINED]
    pending = images - removed - ok - quarantined
    return Account(RowCounts(ok, quarantined, pending, removed, manifest.rows - images), dict(reasons))


def refuse_strange(commit: Commit, manifest: Manifest) -> None:
    """Raise CorruptStore where a commit record is not of the images that the manifest has in these rows."""
    rows = manifest.read(commit.shard)
    if not all(commit.table[name].combine_chunks().equals(rows[name].combine_chunks()) for name in ("row", "id", "version")):
        raise CorruptStore(
            f"The commit record {commit.shard.name} does not belong to the manifest {manifest.folder}; delete the record, so that its "
            "shard is extracted again."
        )


def _without(table: pa.Table, removed: NDArray[np.int64], shard: Shard) -> pa.Table:
    first, last = np.searchsorted(removed, (shard.start, shard.stop))
    if first == last:
        return table
    return table.filter(pa.array(~np.isin(table["row"].to_numpy(), removed[first:last])))
