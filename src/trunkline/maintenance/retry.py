"""Retry: quarantined images get new rows, which the next extraction reads. The old rows are marked as removed; nothing is renumbered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trunkline import drafts
from trunkline.backbones.compiled import committed_backbone
from trunkline.blocks import Status
from trunkline.clusters import Cluster
from trunkline.errors import DataError, RunError, UnreadableImage, did_you_mean
from trunkline.locations import Location
from trunkline.maintenance.findings import chosen
from trunkline.manifest import Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.shards import BLOCK, plan
from trunkline.sources import Listed
from trunkline.specs import EngineSpec
from trunkline.stages.up_to_date import bring_up_to_date
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.versions import NO_VALUE

TRIES = 3
READERS = 8


@dataclass(frozen=True)
class Stays:
    """An image that stays in quarantine, as its source cannot give it."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class Retried:
    """One dataset.

    Parameters
    ----------
    batch : that was appended; None where there was nothing to try.
    retried : ids with new rows; by `reasons` of their old ones.
    stay : images that are gone or unreadable in the source itself.
    shared : retried images that have features under another recipe, where they are extracted again too.
    extracted : rows per feature set, where it was asked to extract at once.
    """

    dataset: str
    batch: int | None
    retried: tuple[str, ...]
    reasons: Mapping[str, int]
    stay: tuple[Stays, ...]
    shared: int
    extracted: Mapping[str, Mapping[str, int]]

    def summary(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Quarantined:
    """Live rows → reason, over all recipes; and rows that are ok under at least one."""

    reasons: Mapping[int, str]
    ok: frozenset[int]


def retry(
    store: str,
    dataset: str | None = None,
    reasons: Sequence[str] = (),
    cluster: Cluster | None = None,
    progress: Progress = silent,
) -> list[Retried]:
    """Append a batch in which quarantined images are removed and added again; labels and splits go with them.

    Parameters
    ----------
    reasons : only rows with one of these; all by default.
    cluster : extract at once with it, by each feature set's own recipe; None leaves that to `trunkline run`.

    Raises
    ------
    StoreError : no store, or no such dataset.
    DataError : a reason that no quarantined image has.
    RunError : other scans kept appending first.
    """
    root = FeatureStore.open(Location.of(store))
    found = {each: _quarantined(root, each) for each in chosen(root, dataset)}
    known = {reason for each in found.values() for reason in each.reasons.values()}
    for reason in reasons:
        if known and reason not in known:
            raise DataError(
                f"No image of {root.root} is quarantined as {reason!r}.{did_you_mean(reason, known)} There are: {', '.join(sorted(known))}."
            )
    done = []
    for each in found:
        retried = _retry(root, each, reasons, progress)
        done.append(_extracted(root, each, retried, cluster, progress) if cluster is not None else retried)
    return done


def _retry(root: FeatureStore, dataset: Dataset, reasons: Sequence[str], progress: Progress) -> Retried:
    for _ in range(TRIES):
        quarantined = _quarantined(root, dataset)
        rows = [row for row, reason in sorted(quarantined.reasons.items()) if not reasons or reason in reasons]
        manifest = dataset.manifest
        images, stay = _now(dataset, manifest, rows, progress)
        if not images:
            return Retried(dataset.name, None, (), {}, stay, 0, {})
        old = list(images)
        try:
            after = _append(manifest, images)
        except FileExistsError:
            continue  # a scan appended first; look at what is live now
        _carry_over(dataset, old, after)
        counts: dict[str, int] = {}
        for row in old:
            counts[quarantined.reasons[row]] = counts.get(quarantined.reasons[row], 0) + 1
        ids = tuple(images[row].id for row in old)
        shared = len(quarantined.ok & set(old))
        return Retried(dataset.name, len(after.batches) - 1, ids, counts, stay, shared, {})
    raise RunError(f"Scans of {dataset.name} kept appending first; start this again when they are done.")


def _append(manifest: Manifest, images: Mapping[int, Listed]) -> Manifest:
    """Old row → image becomes a batch: the rows removed, the images added in this order."""
    start = -(-manifest.rows // BLOCK) * BLOCK
    old = np.array(list(images), np.int64)
    return drafts.append(manifest, images.values(), old, start + np.arange(len(old)))


def _quarantined(root: FeatureStore, dataset: Dataset) -> _Quarantined:
    removed = dataset.manifest.removed
    reasons: dict[int, str] = {}
    ok: set[int] = set()
    for features in root.feature_sets(dataset.name):
        for commit in features.commits.each(features.commits.done(), ("row", "status", "reason")):
            table = commit.table.filter(~np.isin(commit.table["row"].to_numpy(), removed))
            bad = table.filter(pc.equal(table["status"], str(Status.QUARANTINED)))
            reasons |= dict(zip(bad["row"].to_pylist(), bad["reason"].to_pylist(), strict=True))
    for features in root.feature_sets(dataset.name) if reasons else ():
        for commit in features.commits.each(features.commits.done(), ("row", "status")):
            table = commit.table
            good = table.filter(pc.equal(table["status"], str(Status.OK)))["row"].to_pylist()
            ok |= reasons.keys() & set(good)
    return _Quarantined(reasons, frozenset(ok))


def _now(
    dataset: Dataset, manifest: Manifest, rows: Sequence[int], progress: Progress
) -> tuple[dict[int, Listed], tuple[Stays, ...]]:
    """The images of these rows as their source has them now; and those that it cannot give."""
    source = dataset.source
    known = {row["row"]: row for row in _rows(manifest, rows)}

    def look(row: int) -> Listed | Stays:
        try:
            content, version = source.fetch(known[row]["id"], known[row]["place"])
        except UnreadableImage as error:
            return Stays(row, known[row]["id"], error.reason)
        return Listed(known[row]["id"], len(content), version, known[row]["place"])

    if rows:
        source.check()
        progress(Step("retry", 0, len(rows)))
    images: dict[int, Listed] = {}
    stay: list[Stays] = []
    with ThreadPoolExecutor(READERS, "retry") as pool:
        for number, (row, seen) in enumerate(zip(rows, pool.map(look, rows), strict=True), 1):
            if isinstance(seen, Stays):
                stay.append(seen)
            else:
                images[row] = seen
            progress(Step("retry", number, len(rows)))
    return images, tuple(stay)


def _rows(manifest: Manifest, rows: Sequence[int]) -> Iterable[dict[str, Any]]:
    """The manifest's lines of these rows, which ascend; a block is read at a time."""
    for block in plan(manifest.spans, BLOCK):
        first, last = np.searchsorted(rows, (block.start, block.stop))
        if last > first:
            table = manifest.read(block)
            yield from table.take(np.asarray(rows[first:last]) - block.start).to_pylist()


def _carry_over(dataset: Dataset, old: Sequence[int], after: Manifest) -> None:
    """Labels and splits of the old rows, for the new ones."""
    start = after.batches[-1].start
    for versions in (dataset.labels, dataset.splits):
        values = versions.values(start)
        codes = values.codes[np.array(old, np.int64)]
        told = codes != NO_VALUE
        versions.append(start + np.flatnonzero(told), pa.array(values.names, pa.string()).take(pa.array(codes[told])))


def _extracted(root: FeatureStore, dataset: Dataset, retried: Retried, cluster: Cluster, progress: Progress) -> Retried:
    """Every feature set of the dataset brought up to date by its own recipe and backbone."""
    extracted: dict[str, Mapping[str, int]] = {}
    for features in root.feature_sets(dataset.name) if retried.batch is not None else ():
        names = sorted(features.commits.done())
        environment = features.commits.read(names[0]).environment if names else {}
        backbone = committed_backbone(root.root, features.recipe, environment.get("batch"))
        runtime = environment.get("runtime", "auto")
        fresh, _ = bring_up_to_date(features, dataset, backbone, cluster, EngineSpec(), runtime, progress=progress)
        counts = {status: sum(each.statuses.get(status, 0) for each in fresh) for status in (Status.OK, Status.QUARANTINED)}
        extracted[features.location.uri] = {str(status): count for status, count in counts.items()}
    return Retried(**{**vars(retried), "extracted": extracted})
