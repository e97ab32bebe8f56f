"""What is known of each row of a feature set at one moment: the one place that opens manifests, labels, splits and commit records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trunkline.accounting import refuse_strange
from trunkline.blocks import Status
from trunkline.errors import DataError
from trunkline.manifest import Manifest
from trunkline.shards import Shard, plan
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset
from trunkline.versions import NO_VALUE, Versions

VOID, PENDING, OK, QUARANTINED, REMOVED = range(5)
STATUSES = (str(Status.VOID), str(Status.PENDING), str(Status.OK), str(Status.QUARANTINED), "removed")
COLUMNS = ("row", "id", "uri", "label", "split", "status", "reason", "detail", "sha256", "version")
COMMITTED = ("reason", "detail", "sha256")  # columns that commit records hold
LISTED = ("id", "version", "place")  # columns that the manifest holds, with what a URI is made of


class Snapshot:
    """A dataset and the commit records of one feature set, as they were when this was made.

    Parameters
    ----------
    dataset, feature_set : what is read.
    batch : the last batch of the manifest that counts; all by default.

    Raises
    ------
    DataError : there is no such batch.
    """

    def __init__(self, dataset: Dataset, feature_set: FeatureSet, batch: int | None = None) -> None:
        self._dataset = dataset
        self._features = feature_set
        # records are listed before the manifest, labels after: a writer goes the other way, so no record is without its rows
        done = feature_set.commits.done()
        self._manifest = _as_of(dataset, batch)
        self._versions = {each.column: (each, each.names()) for each in (dataset.labels, dataset.splits)}
        shards = plan(self._manifest.spans, feature_set.layout.rows_per_shard)
        self.shards: tuple[Shard, ...] = tuple(shard for shard in shards if shard.name in done)

    @property
    def rows(self) -> int:
        """One past the last row of the manifest, void ones included."""
        return self._manifest.rows

    @property
    def batches(self) -> list[tuple[int, int, NDArray[np.int64]]]:
        """Each batch's rows [start, stop), and the rows it removed, (n,) int64."""
        return [(batch.start, batch.stop, batch.removed) for batch in self._manifest.batches]

    def statuses(self) -> NDArray[np.uint8]:
        """(rows,) places in `STATUSES`, by row number; what a later batch removes is `removed` whatever became of it.

        Raises
        ------
        CorruptStore : a commit record does not belong to this manifest.
        """
        return self._statuses

    def codes(self, what: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Labels or splits (`what` is `label` or `split`): (rows,) places in the names, −1 where none; and the names in order."""
        return self._labels if what == "label" else self._splits

    def ids(self, rows: NDArray[np.int64]) -> pa.Array:
        """(n,) strings, of rows that hold or held an image."""
        return pa.concat_arrays(self._manifest.take(rows, ("id",))["id"].chunks or [pa.array([], pa.string())])

    def listed(self, rows: NDArray[np.int64]) -> pa.Table:
        """(id, version, place) of these rows, which ascend and hold or held an image: what a source needs to read them."""
        return self._manifest.take(rows, LISTED)

    def table(self, rows: NDArray[np.int64], columns: Sequence[str] = COLUMNS) -> pa.Table:
        """The given columns of the index of the given rows, which ascend and hold or held an image."""
        images = self.listed(rows) if {"id", "version", "uri"} & set(columns) else pa.table({})
        known: dict[str, Any] = dict(self._committed(rows, columns))
        for name in columns:
            match name:
                case "row":
                    known[name] = pa.array(rows, pa.int64())
                case "id" | "version":
                    known[name] = images[name]
                case "uri":
                    known[name] = self._uris(images)
                case "label" | "split":
                    codes, names = self.codes(name)
                    known[name] = named(codes[rows], names)
                case "status":
                    known[name] = named(self._statuses[rows], STATUSES)
        return pa.table({name: known[name] for name in columns})

    def commits(self) -> Iterator[Commit]:
        """The commit records, in row order."""
        yield from self._features.commits.each([shard.name for shard in self.shards])

    @cached_property
    def last_committed(self) -> float | None:
        """When the last record was written, in seconds since 1970; None where there is none."""
        records = self._features.commits.each([shard.name for shard in self.shards], ("row",))
        return max((commit.timings.committed for commit in records), default=None)

    def _uris(self, images: pa.Table) -> pa.Array:
        source = self._dataset.source
        pairs = zip(images["id"].to_pylist(), images["place"].to_pylist(), strict=True)
        return pa.array([source.uri_of(image_id, place) for image_id, place in pairs], pa.string())

    @cached_property
    def _statuses(self) -> NDArray[np.uint8]:
        codes = np.full(self.rows, VOID, np.uint8)
        for start, stop, _ in self.batches:
            codes[start:stop] = PENDING
        commits, names = self._features.commits, {shard.name for shard in self.shards}
        loose = commits.loose(names)
        for commit in commits.each(names - loose, ("status",)):  # they were checked when they were sealed
            self._put(commit, codes)
        for commit in commits.each(loose):
            refuse_strange(commit, self._manifest)
            self._put(commit, codes)
        codes[self._manifest.removed] = REMOVED
        return codes

    def _put(self, commit: Commit, codes: NDArray[np.uint8]) -> None:
        codes[commit.shard.start : commit.shard.stop] = pc.index_in(commit.table["status"], pa.array(STATUSES)).to_numpy()

    def _committed(self, rows: NDArray[np.int64], columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """Of the columns that commit records hold; empty strings where a row has no record. Opens the records of these rows only."""
        wanted = [name for name in columns if name in COMMITTED]
        if not wanted:
            return {}
        places = {shard.name: np.searchsorted(rows, (shard.start, shard.stop)) for shard in self.shards}
        held = [name for name, (first, last) in places.items() if first < last]
        parts: list[pa.Table] = []
        done = 0
        for commit in self._features.commits.each(held, wanted):
            first, last = places[commit.shard.name]
            inside = commit.table.take(pa.array(rows[first:last] - commit.shard.start)).replace_schema_metadata(None)
            parts += [_nothing(wanted, first - done), inside]
            done = last
        table = pa.concat_tables([*parts, _nothing(wanted, len(rows) - done)])
        return {name: table[name] for name in wanted}

    @cached_property
    def _labels(self) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        return _coded(*self._versions["label"], self.rows)

    @cached_property
    def _splits(self) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        return _coded(*self._versions["split"], self.rows)


def named(codes: NDArray[np.integer], names: Sequence[str]) -> pa.Array:
    """(n,) strings, null where a code is −1."""
    return pa.array(names, pa.string()).take(pa.array(codes, mask=codes < 0))


def _as_of(dataset: Dataset, batch: int | None) -> Manifest:
    manifest = dataset.manifest
    if batch is None:
        return manifest
    if not 0 <= batch < len(manifest.batches):
        there = f"batches 0 to {len(manifest.batches) - 1}" if manifest.batches else "no batch yet"
        raise DataError(
            f"There is no batch {batch} of {dataset.name}: its manifest has {there}. Each scan that found changes adds one."
        )
    return manifest.as_of(batch)


def _coded(versions: Versions, files: Sequence[str], rows: int) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """The values of all rows after these files, as codes of the sorted names that are in use."""
    values = versions.values(rows, files)
    used = np.bincount(values.codes[values.codes >= 0], minlength=len(values.names)) > 0
    names = sorted(name for name, is_used in zip(values.names, used.tolist(), strict=True) if is_used)
    places = np.full(len(values.names) + 1, NO_VALUE, np.int32)
    places[[values.names.index(name) for name in names]] = np.arange(len(names))
    return places[values.codes], tuple(names)


def _nothing(columns: Sequence[str], rows: int) -> pa.Table:
    return pa.table({name: pa.array([""]).take(pa.array(np.zeros(rows, np.int64))) for name in columns})
