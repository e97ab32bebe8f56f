"""Purge: erase what a store knows of removed images, for good. The one place besides repair where committed objects are rewritten.

Manifest first, then whatever else names or holds the rows: a purge that dies is finished by starting it again, as rows whose
id is gone from the manifest are looked for everywhere.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trunkline.blocks import Status, rows_digest
from trunkline.errors import DataError, did_you_mean
from trunkline.locations import Location
from trunkline.manifest import Batch, Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.shards import BLOCK, Shard, plan
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.store.lease import hold
from trunkline.tables import open_parquet, parquet_bytes
from trunkline.wording import counted

ERASED: Mapping[str, Any] = {"id": "", "version": "", "sha256": "", "detail": "", "feature": "", "reason": "", "size": 0}
ERASED_OF_IMAGE: Mapping[str, Any] = {"id": "", "version": "", "place": "", "size": 0}
NOTHING_ERASED = "Nothing was erased now."
LEFT_ERASED = "Nothing more was erased now than what an earlier purge left unfinished: {}."

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Purged:
    """One dataset: how many removed images were erased, or would be; and the objects that were rewritten or deleted."""

    dataset: str
    images: int
    erased: bool
    rewritten: int
    deleted: int
    notes: Sequence[str]

    def summary(self) -> dict[str, Any]:
        return asdict(self)


def purge(store: str, dataset: str, ids: Sequence[str] = (), erase: bool = False, progress: Progress = silent) -> Purged:
    """Erase removed images: their features, ids, digests and thumbnails.

    Parameters
    ----------
    ids : only these; all removed images by default.
    erase : without it nothing is touched, only counted.

    Raises
    ------
    StoreError : no store or dataset.
    DataError : an id that is unknown, or whose image is still there.
    LeaseHeld : a run is writing.
    """
    root = FeatureStore.open(Location.of(store))
    found = root.known_dataset(dataset)
    manifest = found.manifest
    try:
        rows = _rows_to_erase(manifest, ids)
    except _UnknownError as error:
        if not erase:
            raise
        if (left := _erase(root, found, None, progress)).rewritten:  # the same command may have died before
            raise DataError(
                str(error).replace(NOTHING_ERASED, LEFT_ERASED.format(counted(left.rewritten, "object")))
            ) from error
        raise
    if not erase:
        return Purged(dataset, len(rows), False, 0, 0, ())
    work = _erase(root, found, rows, progress)
    return Purged(dataset, len(rows), True, work.rewritten, work.deleted, _notes(root, root.feature_sets(dataset)))


class _UnknownError(DataError):
    """An id that no row has, or none any more."""


def _erase(root: FeatureStore, found: Dataset, rows: Rows | None, progress: Progress) -> _Work:
    """These rows, and what an earlier purge left of others; None for what was left alone, without touching reports for nothing."""
    work = _Work()
    with contextlib.ExitStack() as leases:
        sets = root.feature_sets(found.name)
        for features in sets:
            leases.enter_context(hold(features.leases))
        if rows is not None:
            _erase_from_manifest(found.manifest, rows, work)
            _delete_reports(root, found, work)
        manifest = found.manifest
        gone = _erased_rows(manifest)
        for versions in (found.labels, found.splits):
            for name in versions.names():
                work.table_without(versions.folder / name, gone)
        for number, features in enumerate(sets):
            progress(Step("purge", number, len(sets)))
            _erase_from_features(features, manifest, gone, work)
            _erase_predictions(root.beside("predictions", features), gone, work)
        if rows is not None or work.rewritten:
            _delete_heads_of_neighbours(root, sets, work)
        if rows is None and work.rewritten:
            _delete_reports(root, found, work)
        progress(Step("purge", len(sets), len(sets)))
    return work


class _Work:
    """What was done so far."""

    def __init__(self) -> None:
        self.rewritten = self.deleted = 0

    def write(self, location: Location, content: bytes) -> None:
        location.write(content)
        self.rewritten += 1

    def delete(self, location: Location) -> None:
        location.remove()
        self.deleted += 1

    def table_without(self, location: Location, gone: Rows, column: str = "row") -> None:
        """Leave out the lines of these rows, where there are any."""
        with open_parquet(location) as file:
            table = file.read()
        held = np.isin(table[column].to_numpy(), gone)
        if held.any():
            self.write(location, parquet_bytes(table.filter(pa.array(~held)), 65_536))


def _rows_to_erase(manifest: Manifest, ids: Sequence[str]) -> Rows:
    """The removed rows that still have an id, all or of these ids."""
    wanted = pa.array(list(ids), pa.string())
    rows, seen, live = [np.empty(0, np.int64)], set[str](), set[str]()
    for table in manifest.chunks(("row", "id", "removed")):
        named = pc.not_equal(table["id"], "")
        here = pc.and_(named, pc.is_in(table["id"], wanted)) if ids else named
        rows.append(table.filter(pc.and_(here, table["removed"]))["row"].to_numpy())
        if ids:
            some = table.filter(here)
            seen |= set(some["id"].to_pylist())
            live |= set(some.filter(pc.invert(some["removed"]))["id"].to_pylist())
    if unknown := sorted(set(ids) - seen):
        hint = did_you_mean(unknown[0], seen)
        raise _UnknownError(
            f"There is no image {unknown[0]!r} in {manifest.folder}, or it was erased before.{hint} {NOTHING_ERASED}"
        )
    if live:
        raise DataError(
            f"The image {min(live)!r} is still in the source, so its features would come back. Delete it there, scan, then purge. "
            "Nothing was erased."
        )
    return np.concatenate(rows)


def _erased_rows(manifest: Manifest) -> Rows:
    """All rows whose image was erased, now or before."""
    rows = [np.empty(0, np.int64)]
    for table in manifest.chunks(("row", "id", "removed")):
        rows.append(table.filter(pc.and_(table["removed"], pc.equal(table["id"], "")))["row"].to_numpy())
    return np.concatenate(rows)


def _erase_from_manifest(manifest: Manifest, rows: Rows, work: _Work) -> None:
    for batch in manifest.batches:
        inside = rows[(rows >= batch.start) & (rows < batch.stop)]
        if len(inside):
            work.write(batch.location, _batch_without(batch, inside))


def _batch_without(batch: Batch, rows: Rows) -> bytes:
    """The batch with its row groups as they were, and nothing of these rows but their numbers."""
    out = io.BytesIO()
    with contextlib.ExitStack() as files:
        old = files.enter_context(open_parquet(batch.location))
        schema = old.schema_arrow.remove_metadata()
        new = files.enter_context(
            pq.ParquetWriter(out, schema, compression="zstd", write_statistics=False, write_page_checksum=True)
        )
        for group in range(old.num_row_groups):
            table = old.read_row_group(group).replace_schema_metadata(None)
            new.write_table(_blanked(table, rows, ERASED_OF_IMAGE) if group < batch.blocks else table, max(BLOCK, len(table)))
        new.add_key_value_metadata({"trunkline.start": str(batch.start), "trunkline.stop": str(batch.stop)})
    return out.getvalue()


def _blanked(table: pa.Table, rows: Rows, values: Mapping[str, Any]) -> pa.Table:
    held = pa.array(np.isin(table["row"].to_numpy(), rows))
    for name, value in values.items():
        if name in table.schema.names:
            column = pc.if_else(held, pa.scalar(value, table.schema.field(name).type), table[name])
            table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _erase_from_features(features: FeatureSet, manifest: Manifest, gone: Rows, work: _Work) -> None:
    done = features.commits.done()
    shards = [shard for shard in plan(manifest.spans, features.layout.rows_per_shard) if shard.name in done]
    held = [(shard, gone[slice(*np.searchsorted(gone, (shard.start, shard.stop)))]) for shard in shards]
    held = [(shard, rows) for shard, rows in held if len(rows)]
    features.commits.unseal([shard.name for shard, _ in held])
    for shard, rows in held:
        commit = features.commits.read(shard.name)
        erased = _commit_without(commit, manifest, shard, rows)
        if erased.table.equals(commit.table):
            continue  # an earlier purge did it
        arrays = {layer: features.arrays.read(layer, shard.start, shard.stop) for layer in features.layout.dims}
        for values in arrays.values():
            values[rows - shard.start] = np.nan
        features.arrays.write(shard, arrays)
        for name in features.moments.names():
            if name.startswith(f"{shard.name}-"):
                work.delete(features.moments / name)
        features.commits.replace(erased)
        work.rewritten += 1 + len(arrays)
    if held:
        features.arrays.seal(shards)


def _commit_without(commit: Commit, manifest: Manifest, shard: Shard, rows: Rows) -> Commit:
    table = _blanked(commit.table, rows, {**ERASED, "status": str(Status.VOID)})
    return replace(commit, table=table, rows_digest=rows_digest(manifest.read(shard)))


def _erase_predictions(folder: Location, gone: Rows, work: _Work) -> None:
    """Those on the test split, a file a head, and those of `trunkline predict`, a folder a head."""
    for name in folder.names():
        if name.endswith(".parquet"):
            work.table_without(folder / name, gone, "rows")
            continue
        for inner in (folder / name).names():
            work.table_without(folder / name / inner, gone)


def _delete_heads_of_neighbours(root: FeatureStore, sets: Sequence[FeatureSet], work: _Work) -> None:
    """They hold features of training images, nobody knows of which; the next fit makes new ones. `head.json` goes first."""
    for features in sets:
        heads, predictions = root.beside("heads", features), root.beside("predictions", features)
        for name in heads.names():
            if name.startswith("knn-"):
                (heads / name / "head.json").remove()
                work.delete(heads / name)
                (predictions / f"{name}.parquet").remove()
                (predictions / name).remove()


def _delete_reports(root: FeatureStore, dataset: Dataset, work: _Work) -> None:
    """Reports show thumbnails and names; those of this dataset go, and the next run draws a new one."""
    for features in root.feature_sets(dataset.name):
        if (features.location / "report.json").exists():
            work.delete(features.location / "report.json")
    for run in root.runs.names():
        report = root.runs / f"{run}/report.html"
        if report.exists() and _dataset_of_run(root.runs / run) in (dataset.name, None):
            work.delete(report)


def _dataset_of_run(run: Location) -> str | None:
    try:
        return str(json.loads((run / "metrics.json").read())["dataset"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _notes(root: FeatureStore, sets: Sequence[FeatureSet]) -> list[str]:
    notes = ["Backups, and earlier versions that a bucket keeps, are not reached from here."]
    if any(root.beside("heads", features).names() for features in sets):
        notes.append(
            "Masks and heads hold no image, but were fitted with them: `trunkline select --refit` and `fit` make new ones. Heads of "
            "nearest neighbours, which hold features, are deleted."
        )
    return notes
