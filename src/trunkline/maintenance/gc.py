"""Garbage collection: deleting what no committed record refers to, and nothing else. A dry run unless it is asked to delete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trunkline.errors import LeaseHeld
from trunkline.locations import Location
from trunkline.maintenance.findings import chosen
from trunkline.maintenance.orphans import Orphan, Swept, in_feature_set, in_store
from trunkline.progress import Progress, Step, silent
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore
from trunkline.store.lease import hold

GRACE_SECONDS = 3600.0


@dataclass(frozen=True)
class Collected:
    """What garbage collection found, and did.

    Parameters
    ----------
    orphans : what nothing refers to, old enough to be deleted.
    young : how many more there are that something may be making right now.
    deleted, freed : objects and bytes, 0 in a dry run.
    unknown : what is not trunkline's, left alone.
    passed_over : feature sets that another run holds, and why; nothing of theirs was deleted.
    """

    store: str
    deleting: bool
    orphans: tuple[Orphan, ...]
    young: int
    deleted: int
    freed: int
    unknown: tuple[str, ...]
    passed_over: Mapping[str, str]

    @property
    def bytes(self) -> int:
        return sum(orphan.bytes for orphan in self.orphans)

    @property
    def kinds(self) -> Mapping[str, int]:
        return Counter(orphan.kind for orphan in self.orphans)

    def summary(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "deleting": self.deleting,
            "orphans": [said(orphan) for orphan in self.orphans],
            "bytes": self.bytes,
            "young": self.young,
            "deleted": self.deleted,
            "freed": self.freed,
            "unknown": list(self.unknown),
            "passed_over": dict(self.passed_over),
        }


def said(orphan: Orphan) -> dict[str, Any]:
    """An orphan for JSON."""
    return {"kind": orphan.kind, "where": orphan.place.uri, "bytes": orphan.bytes, "why": orphan.why}


@dataclass
class _Bin:
    """What was found and deleted so far."""

    progress: Progress
    orphans: list[Orphan] = field(default_factory=list)
    young: int = 0
    deleted: int = 0
    freed: int = 0
    unknown: list[str] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)

    def see(self, swept: Swept) -> list[Orphan]:
        """Note what was found; what may be deleted of it."""
        old = [orphan for orphan in swept.orphans if not orphan.young]
        self.orphans += old
        self.young += len(swept.orphans) - len(old)
        self.unknown += swept.unknown
        self.progress(Step("gc", len(self.orphans), None))
        return old

    def delete(self, orphans: Iterable[Orphan]) -> None:
        """One by one, each looked at again right before."""
        for orphan in orphans:
            if not any(place.exists() for place in orphan.unless) and orphan.place.exists():
                orphan.place.remove()
                self.deleted += 1
                self.freed += orphan.bytes
                self.progress(Step("gc", self.deleted, len(self.orphans), "deleting"))


def collect(store: str, *, delete: bool = False, grace: float = GRACE_SECONDS, progress: Progress = silent) -> Collected:
    """Find, and with `delete` remove, what no committed record refers to.

    Parameters
    ----------
    delete : really; feature sets are cleared under their lease, and those that another run holds are passed over.
    grace : seconds for which an object is left alone after it was written, as something may be making it.

    Raises
    ------
    StoreError : no store, or a foreign or newer one.
    """
    root = FeatureStore.open(Location.of(store))
    bin_ = _Bin(progress)
    for dataset in chosen(root, None):
        for features in root.feature_sets(dataset.name):
            _feature_set(root, features, delete, grace, bin_)
    old = bin_.see(in_store(root, grace))
    if delete:
        bin_.delete(old)
    return Collected(
        store=root.root.uri,
        deleting=delete,
        orphans=tuple(bin_.orphans),
        young=bin_.young,
        deleted=bin_.deleted,
        freed=bin_.freed,
        unknown=tuple(bin_.unknown),
        passed_over=bin_.passed_over,
    )


def _feature_set(root: FeatureStore, features: FeatureSet, delete: bool, grace: float, bin_: _Bin) -> None:
    swept = in_feature_set(root, features, grace)
    leases = [orphan for orphan in swept.orphans if orphan.kind == "lease"]
    if not delete or len(leases) == len(swept.orphans):  # superseded leases need no lease to go
        old = bin_.see(swept)
        if delete:
            bin_.delete(old)
        return
    try:
        with hold(features.leases, wait_seconds=0.0):
            again = FeatureSet.open(features.location)  # as it is now that nobody else writes
            bin_.delete(bin_.see(in_feature_set(root, again, grace)))
    except LeaseHeld as error:
        bin_.passed_over[features.location.uri] = str(error)
