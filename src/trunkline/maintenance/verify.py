"""Verify: everything that a store says of itself, checked against what lies there, shard by shard."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trunkline.accounting import RowCounts
from trunkline.clusters import Cluster
from trunkline.errors import StoreError, TrunklineError
from trunkline.locations import Location
from trunkline.maintenance import gc
from trunkline.maintenance.dataset_check import check_dataset
from trunkline.maintenance.derived_check import check_backbone, check_derived
from trunkline.maintenance.findings import Finding, Severity, chosen
from trunkline.maintenance.orphans import MOMENTS, Orphan, in_feature_set, in_store
from trunkline.maintenance.shard_check import Checked, CheckItem, CheckJob, check_shard
from trunkline.manifest import Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.shards import Shard, plan
from trunkline.store import lease as leases
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore

MADE_ANEW = "`trunkline verify STORE --repair` makes it anew, and so does the next `trunkline run`"


@dataclass(frozen=True)
class FeatureSetVerified:
    """One feature set.

    Parameters
    ----------
    shards : committed ones, all of them checked.
    counts : its rows; None where the manifest cannot be read. `unknown` live rows stand under records that do not say.
    broken : the shards with damage.
    environments : (runtime, batch) that its shards were committed with.
    """

    location: Location
    dataset: str
    shards: int
    counts: RowCounts | None
    unknown: int
    findings: tuple[Finding, ...]
    broken: tuple[Checked, ...]
    environments: frozenset[tuple[str, str]]

    def summary(self) -> dict[str, Any]:
        return {
            "feature_set": self.location.uri,
            "dataset": self.dataset,
            "shards": self.shards,
            "counts": asdict(self.counts) if self.counts else None,
            "unknown": self.unknown,
            "findings": len(self.findings),
        }


@dataclass(frozen=True)
class Verified:
    """All of a store, or one of its datasets. `orphans` are no damage: `trunkline gc` removes them."""

    store: str
    feature_sets: tuple[FeatureSetVerified, ...]
    of_datasets: tuple[Finding, ...]
    orphans: tuple[Orphan, ...]
    unknown: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.of_datasets, *(finding for each in self.feature_sets for finding in each.findings))

    def summary(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "feature_sets": [each.summary() for each in self.feature_sets],
            "findings": [asdict(finding) for finding in self.findings],
            "orphans": [gc.said(orphan) for orphan in self.orphans],
            "unknown": list(self.unknown),
        }


def verify(store: str, cluster: Cluster, dataset: str | None = None, progress: Progress = silent) -> Verified:
    """Check every feature set of a store, or of one of its datasets; nothing is changed.

    Raises
    ------
    StoreError : no store, no such dataset, or it lies where workers cannot read it.
    StorageError, StorageUnreachable : the disk or bucket does not answer, which says nothing of the store.
    """
    root = FeatureStore.open(Location.of(store))
    if root.root.scheme == "memory" and cluster.kind != "inline":
        raise StoreError(
            "memory:// lives in one process, and workers are others: they would see no store. Use --cluster inline."
        )
    of_datasets: list[Finding] = []
    verified: list[FeatureSetVerified] = []
    orphans: list[Orphan] = []
    unknown: list[str] = []
    for each in chosen(root, dataset):
        manifest, found = check_dataset(each)
        of_datasets += found
        for features in _feature_sets(root, each, of_datasets):
            verified.append(_verify(root, features, each, manifest, cluster, progress))
            swept = in_feature_set(root, features, gc.GRACE_SECONDS)
            orphans += swept.orphans
            unknown += swept.unknown
    if dataset is None:
        swept = in_store(root, gc.GRACE_SECONDS)
        orphans += swept.orphans
        unknown += swept.unknown
    old = tuple(orphan for orphan in orphans if not orphan.young)
    return Verified(root.root.uri, tuple(verified), tuple(of_datasets), old, tuple(unknown))


def check_again(features: FeatureSet, dataset: Dataset, items: Iterable[CheckItem]) -> Iterator[Checked]:
    """Single shards once more, in this process, with a manifest that is sound."""
    job = CheckJob(features.location, dataset.location / "manifest", True, secrets.token_hex(8))
    yield from (check_shard(job, item) for item in items)


def _feature_sets(root: FeatureStore, dataset: Dataset, findings: list[Finding]) -> Iterator[FeatureSet]:
    """Those that can be opened; what is wrong with the others is noted."""
    folder = root.root / f"features/{dataset.name}"
    for name in folder.names():
        place = folder / name
        if not (place / "layout.json").exists() and not (place / "commits").names():
            continue  # its creation was interrupted: an orphan
        try:
            yield FeatureSet.open(place)
        except TrunklineError as error:
            advice = "restore recipe.json and layout.json from a backup; its features are not touched"
            findings.append(Finding("feature set", place.uri, Severity.IRREPARABLE, str(error), advice))


def _verify(
    root: FeatureStore,
    features: FeatureSet,
    dataset: Dataset,
    manifest: Manifest | None,
    cluster: Cluster,
    progress: Progress,
) -> FeatureSetVerified:
    planned = _planned(features, manifest)
    names = sorted(features.commits.done())
    headers = list(_headers(features, planned, names))
    readable = not headers or features.layout.format == "hdf5"  # whose parts are read without the file over them
    checked = list(_checked(features, manifest, planned, names, readable, cluster, progress))
    findings = [*headers, *(finding for each in checked for finding in each.findings)]
    if not headers:
        findings += _sealing(features, [planned[name] for name in names if name in planned])
    environments = frozenset(each.environment for each in checked if each.environment != ("", ""))
    findings += [*check_backbone(root, features, environments), *check_derived(root, features)]
    unknown = sum(each.unknown for each in checked)
    counts = _counts(manifest, planned, checked) if manifest else None
    if manifest and counts:
        findings += _accounted(features, manifest, counts, unknown)
    broken = tuple(each for each in checked if any(finding.severity == Severity.DAMAGED for finding in each.findings))
    return FeatureSetVerified(
        features.location, dataset.name, len(names), counts, unknown, tuple(findings), broken, environments
    )


def _planned(features: FeatureSet, manifest: Manifest | None) -> dict[str, Shard]:
    shards = plan(manifest.spans, features.layout.rows_per_shard) if manifest else ()
    return {shard.name: shard for shard in shards}


def _checked(
    features: FeatureSet,
    manifest: Manifest | None,
    planned: Mapping[str, Shard],
    names: Sequence[str],
    arrays: bool,
    cluster: Cluster,
    progress: Progress,
) -> Iterator[Checked]:
    """The committed shards, in the order of their rows; each is let go once it is checked, but for what is wrong with it."""
    beside: dict[str, list[str]] = {}
    for name in features.moments.names():
        if said := MOMENTS.fullmatch(f"moments/{name}"):
            beside.setdefault(said[1], []).append(name)
    job = CheckJob(features.location, manifest.folder if manifest else None, arrays, secrets.token_hex(8))
    items = [CheckItem(name, planned.get(name), tuple(beside.get(name, ()))) for name in names]
    progress(Step("verify", 0, len(items)))
    found: list[Checked] = []
    if items:
        for number, each in enumerate(cluster.executor.map(check_shard, job, items), 1):
            found.append(each)
            damaged = sum(bool(one.findings) for one in found)
            progress(Step("verify", number, len(items), f"{damaged} with findings" if damaged else ""))
    yield from sorted(found, key=lambda each: each.item.name)


def _headers(features: FeatureSet, planned: Mapping[str, Shard], names: Sequence[str]) -> Iterator[Finding]:
    """What stands above the arrays' objects; without it no row can be read, though all of them may be there."""
    if names:
        rows = max((planned[name].stop for name in names if name in planned), default=0)
        for place, why in features.arrays.broken_headers(rows).items():
            yield Finding("arrays", place.uri, Severity.DERIVED, f"the array's header {why}", MADE_ANEW)


def _sealing(features: FeatureSet, committed: Sequence[Shard]) -> Iterator[Finding]:
    """Whether plain tools see all that is committed; while a run goes on they need not."""
    unlinked = features.arrays.unlinked(committed)
    held = leases.latest(features.leases) if unlinked else None
    if unlinked and (held is None or leases.is_free(held)):
        detail = f"{len(unlinked)} committed shards, the first {unlinked[0].name}, are not in it: plain tools would read NaN"
        yield Finding("arrays", features.arrays.uri(), Severity.DERIVED, detail, MADE_ANEW)


def _counts(manifest: Manifest, planned: Mapping[str, Shard], checked: Sequence[Checked]) -> RowCounts:
    """From the records one by one, and pending rows from the shards without one: nothing here is the rest of anything else."""
    done = {each.item.name for each in checked}
    pending = sum(
        shard.rows - int(np.diff(np.searchsorted(manifest.removed, (shard.start, shard.stop)))[0])
        for shard in planned.values()
        if shard.name not in done
    )
    images = sum(stop - start for start, stop in manifest.spans)
    return RowCounts(
        ok=sum(each.ok for each in checked),
        quarantined=sum(each.quarantined for each in checked),
        pending=pending,
        removed=len(manifest.removed),
        void=manifest.rows - images,
    )


def _accounted(features: FeatureSet, manifest: Manifest, counts: RowCounts, unknown: int) -> Iterator[Finding]:
    if counts.rows + unknown != manifest.rows:
        detail = (
            f"{counts.ok} ok, {counts.quarantined} quarantined, {counts.pending} pending, {unknown} unknown, {counts.removed} removed and "
            f"{counts.void} void are {counts.rows + unknown} rows, and the manifest has {manifest.rows}"
        )
        advice = "see the other findings: a record or a batch is not what it was"
        yield Finding("rows", features.location.uri, Severity.IRREPARABLE, detail, advice)
