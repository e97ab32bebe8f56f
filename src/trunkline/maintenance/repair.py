"""Repair: what verify found broken is made anew, and nothing else is touched. First it is said what will happen, then it happens.

A shard that is extracted again loses its commit record first, so that nobody sees it half; then its objects; then it is
extracted like any shard. A row whose features are intact is never given up: where its image is gone or changed, the shard
stays, and its damaged rows go to quarantine instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from trunkline.backbones.compiled import Compiled, committed_backbone
from trunkline.blocks import Status
from trunkline.clusters import Cluster
from trunkline.errors import TrunklineError
from trunkline.locations import Location
from trunkline.maintenance.findings import Finding, Severity
from trunkline.maintenance.outlook import Outlook, Row, Way, outlook
from trunkline.maintenance.shard_check import Checked, damaged_rows, stored
from trunkline.maintenance.verify import FeatureSetVerified, Verified, check_again
from trunkline.progress import Progress, Step, silent
from trunkline.shards import Shard, plan
from trunkline.specs import EngineSpec
from trunkline.stages.up_to_date import bring_up_to_date
from trunkline.store.commits import SCHEMA, Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.store.lease import Lease, hold
from trunkline.wording import counted

DAMAGED = "damaged"  # the reason of rows whose features were lost and that could not be extracted in their place
Say = Callable[[str], None]
READERS_BREAK = "Whoever reads these rows right now may get an error, and has to open the features again."


@dataclass(frozen=True)
class Repaired:
    """What a repair of one feature set did: shards by name, deleted objects, rows that could not be restored in their place."""

    feature_set: str
    again: tuple[str, ...]
    kept: tuple[str, ...]
    left: tuple[str, ...]
    deleted: tuple[str, ...]
    lost: tuple[Row, ...]

    def summary(self) -> dict[str, Any]:
        return asdict(self)


def repair(store: str, found: Verified, cluster: Cluster, say: Say, progress: Progress = silent) -> list[Repaired]:
    """Repair every feature set with findings that can be repaired.

    Parameters
    ----------
    found : by `verify`, of the same store.
    say : told what will happen, a line each, before anything is deleted.

    Raises
    ------
    LeaseHeld : another run writes a feature set.
    SourceError, StorageUnreachable : the source does not answer; nothing was deleted.
    """
    root = FeatureStore.open(Location.of(store))
    done = []
    for each in found.feature_sets:
        if any(finding.severity != Severity.IRREPARABLE for finding in each.findings):
            done.append(_repair(root, each, cluster, say, progress))
    return done


def _repair(root: FeatureStore, found: FeatureSetVerified, cluster: Cluster, say: Say, progress: Progress) -> Repaired:
    dataset = root.dataset(found.dataset)
    say(
        f"{found.location}: {counted(len(found.broken), 'damaged shard')}, {counted(len(_derived(found)), 'derived object')} to delete."
    )
    backbone: Compiled | None = None
    runtime = "auto"
    if found.broken:
        dataset.source.check()
        runtime, backbone, why = _backbone(root, found)
        if backbone is None:
            say(f"No shard is touched: {why}")
    with hold(FeatureSet.open(found.location).leases, waiting=lambda held: progress(_waiting(held))) as lease:
        features = FeatureSet.open(found.location)  # as it is now that nobody else writes
        looks = _looks(features, dataset, found.broken, progress) if backbone is not None else []
        for look in looks:
            say(look.words())
        if any(look.way != Way.LEAVE for look in looks):
            say(READERS_BREAK)
        _remove_shards(features, [look for look in looks if look.way == Way.AGAIN])
        for look in looks:
            if look.way == Way.KEEP:
                _keep(features, look, lease)
        deleted = _remove_derived(root, features, found)
        if any(finding.what == "arrays" for finding in found.findings):
            features = FeatureSet.open(found.location)
            features.arrays.grow(dataset.manifest.rows)
            features.arrays.seal(_committed(features, dataset))
    if backbone is not None and any(look.way == Way.AGAIN for look in looks):
        bring_up_to_date(features, dataset, backbone, cluster, EngineSpec(), runtime, progress=progress)
    by = {way: tuple(look.shard.name for look in looks if look.way == way) for way in Way}
    left = by[Way.LEAVE] if backbone else tuple(each.item.name for each in found.broken)
    lost = tuple(row for look in looks if look.way != Way.LEAVE for row in look.lost)
    return Repaired(found.location.uri, by[Way.AGAIN], by[Way.KEEP], left, deleted, lost)


def _backbone(root: FeatureStore, found: FeatureSetVerified) -> tuple[str, Compiled | None, str]:
    """Runtime and compiled backbone that these features were made with, its files whole; else why there is none."""
    environments = {each.environment for each in found.broken} - {("", "")} or found.environments
    runtime, batch = max(environments, default=("", ""))
    try:
        backbone = committed_backbone(root.root, FeatureSet.open(found.location).recipe, batch or None)
        for name in backbone.sha256:
            backbone.file(name)
    except TrunklineError as error:
        return "auto", None, str(error)
    return runtime or "auto", backbone, ""


def _looks(features: FeatureSet, dataset: Dataset, broken: Sequence[Checked], progress: Progress) -> list[Outlook]:
    """Each broken shard looked at once more, under the lease, and its sources; nothing is changed."""
    found = []
    again = check_again(features, dataset, [each.item for each in broken])
    for number, checked in enumerate(again, 1):
        progress(Step("repair", number, len(broken), "looking at the sources"))
        if any(finding.severity == Severity.DAMAGED for finding in checked.findings):
            found.append(outlook(features, dataset, checked))
    return found


def _remove_shards(features: FeatureSet, looks: Sequence[Outlook]) -> None:
    """Records first: what is half deleted must not be seen. An object that also holds sound shards stays; they are written into it."""
    if not looks:
        return
    _forget_sealed(features)
    for look in looks:
        (features.commits.folder / f"{look.shard.name}.parquet").remove()
    committed = [int(name) for name in features.commits.done()]
    for look in looks:
        for place in features.arrays.objects_of(look.shard):
            rows = features.arrays.rows_of(place.uri.removeprefix(f"{features.location.uri}/"))
            if rows and not any(rows[0] <= start < rows[1] for start in committed):
                place.remove()
        for name in look.checked.item.moments:
            (features.moments / name).remove()


def _keep(features: FeatureSet, look: Outlook, lease: Lease) -> None:
    """The shard's objects without its damaged rows, then its record: whoever reads meanwhile finds every intact row as it was."""
    _forget_sealed(features)
    commit = features.commits.read(look.shard.name)
    damaged, _ = damaged_rows(features, commit)
    blocks = stored(features, look.shard)
    for block in blocks.values():
        block[np.array(damaged, np.int64) - look.shard.start] = np.nan
    features.arrays.replace(look.shard, blocks)
    rows = commit.table.to_pylist()
    for row in rows:
        if row["row"] in set(damaged) and row["status"] == Status.OK:
            detail = "its stored features were damaged; `trunkline retry-quarantine` extracts it as a new row"
            row |= {"status": str(Status.QUARANTINED), "reason": DAMAGED, "detail": detail, "feature": ""}
    table = pa.Table.from_pylist(rows, SCHEMA)
    written: Commit = replace(commit, table=table, lease=lease.number)
    (features.commits.folder / f"{look.shard.name}.parquet").write(written.to_bytes())


def _forget_sealed(features: FeatureSet) -> None:
    """`sealed/` caches commit records; it goes before any of them does."""
    (features.location / "sealed").remove()


def _derived(found: FeatureSetVerified) -> list[Finding]:
    return [finding for finding in found.findings if finding.severity == Severity.DERIVED]


def _remove_derived(root: FeatureStore, features: FeatureSet, found: FeatureSetVerified) -> tuple[str, ...]:
    """What the next run makes anew. A head goes with its predictions, `head.json` first: only a whole head counts as made."""
    deleted = []
    for finding in _derived(found):
        if finding.what in ("head", "predictions"):
            name = finding.where.rsplit("/", 1)[1].removesuffix(".parquet")
            head = root.beside("heads", features) / name
            for place in (head / "head.json", head, root.beside("predictions", features) / f"{name}.parquet"):
                place.remove()
            deleted.append(head.uri)
        else:
            Location(finding.where).remove()
            deleted.append(finding.where)
    return tuple(deleted)


def _committed(features: FeatureSet, dataset: Dataset) -> list[Shard]:
    """The committed shards whose objects are there."""
    done = features.commits.done()
    shards = plan(dataset.manifest.spans, features.layout.rows_per_shard)
    return [shard for shard in shards if shard.name in done and features.arrays.objects_of(shard)]


def _waiting(held: Lease) -> Step:
    return Step("repair", 0, None, f"waiting for lease {held.number} of process {held.pid} on {held.host}")
