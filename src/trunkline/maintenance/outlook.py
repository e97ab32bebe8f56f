"""What repairing a damaged shard would cost, found out before anything is deleted: which of its rows can still be made anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from trunkline.blocks import Status
from trunkline.errors import CorruptStore, UnreadableImage
from trunkline.maintenance.shard_check import Checked, stored
from trunkline.shards import Shard
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset

READERS = 8


class Way(StrEnum):
    """How a shard is repaired."""

    AGAIN = "again"  # every row is extracted again
    KEEP = "keep"  # intact rows stay, damaged ones go to quarantine: extracting again would lose intact ones
    LEAVE = "leave"  # nothing is touched until somebody has acted


@dataclass(frozen=True)
class Row:
    """A row that cannot be made anew from its source, and why."""

    row: int
    id: str
    why: str


@dataclass(frozen=True)
class Outlook:
    """One damaged shard.

    Parameters
    ----------
    damaged : rows to be made anew.
    lost : rows with damaged features that cannot be made anew in their place.
    why : of the way, for people.
    """

    checked: Checked
    shard: Shard
    way: Way
    damaged: tuple[int, ...]
    lost: tuple[Row, ...]
    why: str

    def words(self) -> str:
        """What will happen to the shard."""
        rows = f"shard {self.shard.name}"
        match self.way:
            case Way.AGAIN:
                said = f"{rows}: {self.shard.rows} rows are extracted again"
            case Way.KEEP:
                said = f"{rows}: {self.why}; its intact rows stay, and {len(self.damaged)} damaged rows go to quarantine"
            case Way.LEAVE:
                said = f"{rows}: nothing is touched, as {self.why}"
        ids = ", ".join(f"{row.id} ({row.why})" for row in self.lost[:3]) + (", …" if len(self.lost) > 3 else "")
        return said + (f". Not to be restored: {len(self.lost)} rows: {ids}" if self.lost else "")


def outlook(features: FeatureSet, dataset: Dataset, checked: Checked) -> Outlook:
    """Look at the sources of a damaged shard. Raises StorageUnreachable where the source does not answer."""
    shard = checked.item.shard
    if shard is None:
        raise ValueError(f"shard {checked.item.name} is not in the manifest")  # verify calls that irreparable, not damaged
    rows = dataset.manifest.read(shard).to_pylist()
    gone = _gone(dataset, [row for row in rows if not row["removed"]])
    removed = {row["row"] for row in rows if row["removed"]}
    live = shard.rows - len(removed)
    ids = {row["row"]: row["id"] for row in rows}
    statuses = _statuses(features, checked)
    if statuses is None:
        at_risk = set(gone) & _with_features(features, shard)
        damaged = tuple(ids)
    else:
        ok = {row for row, status in statuses.items() if status == Status.OK}
        damaged = checked.damaged
        at_risk = (ok - set(damaged)) & (set(gone) | removed)
    lost = tuple(
        Row(row, ids[row], gone[row])
        for row in sorted(set(gone) & set(damaged))
        if statuses is None or statuses[row] == Status.OK
    )
    if live and len(gone) == live and set(gone.values()) == {"missing"}:
        why = "none of its images is there; mount the source, or `trunkline scan` first if they are meant to be gone"
        return Outlook(checked, shard, Way.LEAVE, damaged, lost, why)
    if at_risk and statuses is None:
        why = f"its record is damaged, and {len(at_risk)} images are gone or changed whose features may be intact; `trunkline scan` first"
        return Outlook(checked, shard, Way.LEAVE, damaged, lost, why)
    if at_risk:
        kept = tuple(Row(row, ids[row], gone.get(row, "a shard with intact rows stays as it is")) for row in damaged)
        return Outlook(
            checked, shard, Way.KEEP, damaged, kept, f"{len(at_risk)} intact rows have no image to make them anew from"
        )
    return Outlook(checked, shard, Way.AGAIN, damaged, lost, "")


def _gone(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The rows whose source is not the version of the manifest any more, and why."""
    source = dataset.source

    def look(row: Mapping[str, Any]) -> str:
        try:
            source.read(row["id"], row["version"], row["place"])
        except UnreadableImage as error:
            return error.reason
        return ""

    with ThreadPoolExecutor(READERS, "outlook") as pool:
        return {row["row"]: why for row, why in zip(rows, pool.map(look, rows), strict=True) if why}


def _statuses(features: FeatureSet, checked: Checked) -> dict[int, str] | None:
    """Row → status by the commit record; None where it cannot be trusted."""
    try:
        table = features.commits.read(checked.item.name).table
    except (CorruptStore, FileNotFoundError):
        return None
    if any(finding.what == "record" for finding in checked.findings):
        return None
    return dict(zip(table["row"].to_pylist(), table["status"].to_pylist(), strict=True))


def _with_features(features: FeatureSet, shard: Shard) -> set[int]:
    """Rows of which something is stored, right or wrong."""
    blocks = stored(features, shard).values()
    there = np.any([~np.isnan(block).all(axis=1) for block in blocks], axis=0)
    return set((shard.start + np.flatnonzero(there)).tolist())
