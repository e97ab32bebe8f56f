"""One shard checked: its commit record against the manifest and against its arrays. A pure function that any process can run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trunkline import moments
from trunkline.blocks import Status, feature_digest, rows_digest
from trunkline.errors import CorruptStore, StorageUnreachable
from trunkline.locations import Location
from trunkline.maintenance.findings import Finding, Severity
from trunkline.manifest import Manifest
from trunkline.shards import Shard
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet

REDO = "`trunkline verify STORE --repair` extracts it again"


@dataclass(frozen=True)
class CheckJob:
    """What all checks of a feature set have in common. `token` is new for every check, so that no worker keeps an old view.

    `manifest` is None where it cannot be read; `arrays` is false where their headers cannot.
    """

    feature_set: Location
    manifest: Location | None
    arrays: bool
    token: str


@dataclass(frozen=True)
class CheckItem:
    """A commit record by its name, the shard that the manifest plans there, and the moments that lie beside it."""

    name: str
    shard: Shard | None
    moments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What became of one committed shard.

    Parameters
    ----------
    damaged : rows whose stored features are not those of the record; all of them where the record cannot be read.
    ok, quarantined : live rows by what their record says; `unknown` live rows are under a record that does not say.
    environment : runtime and batch that computed it; both '' where that is not known.
    """

    item: CheckItem
    findings: tuple[Finding, ...]
    damaged: tuple[int, ...]
    ok: int
    quarantined: int
    unknown: int
    environment: tuple[str, str]


@lru_cache(maxsize=2)
def _opened(job: CheckJob) -> tuple[FeatureSet, Manifest | None]:
    return FeatureSet.open(job.feature_set), Manifest.open(job.manifest) if job.manifest else None


def check_shard(job: CheckJob, item: CheckItem) -> Checked:
    """Check a committed shard.

    Raises
    ------
    StorageError, StorageUnreachable : the disk or bucket does not answer, which is no damage.
    """
    features, manifest = _opened(job)
    place = features.commits.folder / f"{item.name}.parquet"
    try:
        commit = features.commits.read(item.name)
    except (CorruptStore, FileNotFoundError) as error:
        return _without_record(
            features, manifest, item, Finding("record", place.uri, Severity.DAMAGED, str(error), REDO, item.name)
        )
    findings = [*_record(features, manifest, item, commit), *_moments(features, item)]
    damaged: list[int] = []
    if job.arrays:
        damaged, why = damaged_rows(features, commit)
        if damaged:
            findings.append(_features(features, commit.shard, damaged, why))
    live = commit.table.filter(_live(commit.table["row"].to_numpy(), manifest))
    statuses = live["status"].to_pylist()
    ok, quarantined = statuses.count(Status.OK), statuses.count(Status.QUARANTINED)
    lost = [
        row
        for row, status in zip(live["row"].to_pylist(), statuses, strict=True)
        if status not in (Status.OK, Status.QUARANTINED)
    ]
    if lost and manifest is not None:
        detail = f"{len(lost)} live rows, the first {lost[0]}, are neither ok nor quarantined in it, so nobody would ever extract them"
        findings.append(Finding("record", place.uri, Severity.DAMAGED, detail, REDO, item.name))
    by = (commit.environment.get("runtime", ""), commit.environment.get("batch", ""))
    return Checked(item, tuple(findings), tuple(damaged), ok, quarantined, len(lost), by)


def damaged_rows(features: FeatureSet, commit: Commit) -> tuple[list[int], str]:
    """Rows of a shard whose stored features are not what the record says, and what was wrong with the first."""
    table = commit.table.select(["row", "status", "feature"]).to_pylist()
    damaged: list[int] = []
    first = ""
    for start, blocks in _blocks(features, commit.shard.start, commit.shard.stop):
        if isinstance(blocks, str):
            damaged.append(start)
            first = first or blocks
            continue
        for number in range(len(next(iter(blocks)))):
            row = table[start + number - commit.shard.start]
            why = _difference(row["status"], row["feature"], [block[number] for block in blocks])
            if why:
                damaged.append(row["row"])
                first = first or why
    return damaged, first


def stored(features: FeatureSet, shard: Shard) -> dict[str, NDArray[np.float32]]:
    """Layer → (shard.rows, dim) as far as they can be read; NaN elsewhere."""
    layers = list(features.layout.dims)
    out = {layer: np.full((shard.rows, dim), np.nan, features.layout.dtype) for layer, dim in features.layout.dims.items()}
    for start, blocks in _blocks(features, shard.start, shard.stop):
        for layer, block in zip(layers, () if isinstance(blocks, str) else blocks, strict=False):
            out[layer][start - shard.start : start - shard.start + len(block)] = block
    return out


def _blocks(features: FeatureSet, start: int, stop: int) -> Iterator[tuple[int, list[NDArray[np.float32]] | str]]:
    """(first row, a block a layer), in row order; where an object is damaged in part, down to single rows: (row, why it is unreadable)."""
    try:
        yield start, [_read(features, layer, start, stop) for layer in features.layout.dims]
    except CorruptStore as error:
        if stop - start == 1:
            yield start, str(error)
            return
        middle = (start + stop) // 2
        yield from _blocks(features, start, middle)
        yield from _blocks(features, middle, stop)


def _read(features: FeatureSet, layer: str, start: int, stop: int) -> NDArray[np.float32]:
    """As the arrays read, with what their libraries say of damage as CorruptStore."""
    try:
        return features.arrays.read(layer, start, stop)
    except (FileNotFoundError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CorruptStore(f"rows {start} to {stop} of {layer} cannot be read ({type(error).__name__}: {error})") from error
    except OSError as error:
        if error.errno is None and features.location.is_local:  # HDF5's own words; a disk or a bucket would give a number
            raise CorruptStore(f"rows {start} to {stop} of {layer} cannot be read ({error})") from error
        raise StorageUnreachable(
            f"Reading rows {start} to {stop} of {features.location} failed ({error}). That is not taken for damage: check the disk or "
            "bucket, then verify again."
        ) from error


def _difference(status: str, digest: str, rows: list[NDArray[np.float32]]) -> str:
    if status != Status.OK:
        return "" if all(np.isnan(row).all() for row in rows) else f"a row that is {status} holds features"
    if all(np.isnan(row).all() for row in rows):
        return "features of a row that is ok are missing (NaN)"
    return "" if feature_digest(rows) == digest else "features are not those that were committed"


def _record(features: FeatureSet, manifest: Manifest | None, item: CheckItem, commit: Commit) -> Iterator[Finding]:
    place = (features.commits.folder / f"{item.name}.parquet").uri
    damaged = Severity.DAMAGED
    if commit.recipe != features.recipe.digest():
        yield Finding("record", place, damaged, f"it is of another recipe ({commit.recipe})", REDO, item.name)
    intact = rows_digest(commit.table) == commit.rows_digest
    if not intact:
        yield Finding("record", place, damaged, "its rows, ids or versions are not those it was written with", REDO, item.name)
    if manifest is None:
        return
    if item.shard is None:
        advice = "restore the manifest from a backup; if this is no record of this dataset, delete it"
        yield Finding("record", place, Severity.IRREPARABLE, "the manifest has no such shard", advice, item.name)
    elif commit.shard != item.shard:
        detail = f"it covers rows to {commit.shard.stop}, and the manifest has rows to {item.shard.stop} there"
        yield Finding("record", place, Severity.IRREPARABLE, detail, "restore the manifest from a backup", item.name)
    elif intact and rows_digest(manifest.read(item.shard)) != commit.rows_digest:
        detail = f"rows {item.shard.start} to {item.shard.stop} are not those that were committed: other ids or versions"
        advice = "restore the batch from a backup; the commit records, which are intact, hold the ids and versions as they were"
        yield Finding("manifest", manifest.folder.uri, Severity.IRREPARABLE, detail, advice, item.name)


def _features(features: FeatureSet, shard: Shard, damaged: list[int], why: str) -> Finding:
    where = ", ".join(place.uri for place in features.arrays.objects_of(shard)) or features.arrays.uri()
    detail = f"{len(damaged)} of {shard.rows} rows, the first {damaged[0]}: {why}"
    return Finding("features", where, Severity.DAMAGED, detail, REDO, shard.name)


def _moments(features: FeatureSet, item: CheckItem) -> Iterator[Finding]:
    for name in item.moments:
        place = features.moments / name
        try:
            moments.load(place, features.layout.dims)
        except FileNotFoundError:
            continue  # removed since it was listed
        except CorruptStore as error:
            advice = "`trunkline verify STORE --repair` deletes it; the next `trunkline select` computes it from the features"
            yield Finding("moments", place.uri, Severity.DERIVED, str(error), advice, item.name)


def _without_record(features: FeatureSet, manifest: Manifest | None, item: CheckItem, finding: Finding) -> Checked:
    rows = np.arange(item.shard.start, item.shard.stop) if item.shard else np.empty(0, np.int64)
    unknown = int(_live(rows, manifest).sum())
    return Checked(item, (finding, *_moments(features, item)), tuple(rows.tolist()), 0, 0, unknown, ("", ""))


def _live(rows: NDArray[np.int64], manifest: Manifest | None) -> NDArray[np.bool_]:
    return np.ones(len(rows), bool) if manifest is None else ~np.isin(rows, manifest.removed)
