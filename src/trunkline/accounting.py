"""Every row is accounted for: what became of each row of a manifest under one recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from trunkline.blocks import Status
from trunkline.manifest import Manifest
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
    """Count the rows of a manifest over the commit records there are."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    images = sum(batch.stop - batch.start for batch in manifest.batches)
    removed = len(manifest.removed)
    for commit in commits:
        live = ~np.isin(commit.table["row"].to_numpy(), manifest.removed)
        table = commit.table.filter(live)
        statuses.update(table["status"].to_pylist())
        reasons.update(reason for reason in table["reason"].to_pylist() if reason)
    ok, quarantined = statuses[Status.OK], statuses[Status.QUARANTINED]
    pending = images - removed - ok - quarantined
    return Account(RowCounts(ok, quarantined, pending, removed, manifest.rows - images), dict(reasons))
