"""What is known of each row of a feature set at one moment: the one place that opens manifests, labels, splits and commit records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline.blocks import Status
from trunkline.errors import CorruptStore, DataError
from trunkline.manifest import Manifest
from trunkline.shards import Shard, plan
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset
from trunkline.tables import open_parquet
from trunkline.versions import Versions

VOID, PENDING, OK, QUARANTINED, REMOVED = range(5)
STATUSES = (str(Status.VOID), str(Status.PENDING), str(Status.OK), str(Status.QUARANTINED), "removed")
COLUMNS = ("row", "id", "uri", "label", "split", "status", "reason", "detail", "sha256", "version")
COMMITTED = ("reason", "detail", "sha256")  # columns that commit records hold


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
        return self._of_images("id", rows)

    def table(self, rows: NDArray[np.int64], columns: Sequence[str] = COLUMNS) -> pa.Table:
        """The given columns of the index of the given rows, which ascend and hold or held an image."""
        known = {name: values for name, values in self._committed(rows, columns).items()}
        for name in columns:
            match name:
                case "row":
                    known[name] = pa.array(rows, pa.int64())
                case "id" | "version":
                    known[name] = self._of_images(name, rows)
                case "uri":
                    source = self._dataset.source
                    known[name] = pa.array([source.uri_of(each) for each in self.ids(rows).to_pylist()], pa.string())
                case "label" | "split":
                    codes, names = self.codes(name)
                    known[name] = named(codes[rows], names)
                case "status":
                    known[name] = named(self._statuses[rows], STATUSES)
        return pa.table({name: known[name] for name in columns})

    def commits(self) -> Iterator[Commit]:
        """The commit records, in row order."""
        for shard in self.shards:
            yield self._features.commits.read(shard.name)

    @cached_property
    def last_committed(self) -> float | None:
        """When the last record was written, in seconds since 1970; None where there is none."""
        return max((commit.timings.committed for commit in self.commits()), default=None)

    @cached_property
    def _images(self) -> pa.Table:
        """Row, id and version of every row that ever held an image."""
        return self._manifest.images().select(["row", "id", "version"]).combine_chunks()

    def _of_images(self, column: str, rows: NDArray[np.int64]) -> pa.Array:
        places = np.searchsorted(self._images["row"].to_numpy(), rows)
        taken = self._images[column].take(pa.array(places))
        return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken

    @cached_property
    def _statuses(self) -> NDArray[np.uint8]:
        codes = np.full(self.rows, VOID, np.uint8)
        for start, stop, _ in self.batches:
            codes[start:stop] = PENDING
        names = pa.array(STATUSES)
        for commit in self.commits():
            start, stop = commit.shard.start, commit.shard.stop
            self._check(commit)
            codes[start:stop] = pa.compute.index_in(commit.table["status"], names).to_numpy()
        codes[self._manifest.removed] = REMOVED
        return codes

    def _check(self, commit: Commit) -> None:
        """The record lists the manifest's own images: the same rows, ids and versions."""
        first, last = np.searchsorted(self._images["row"].to_numpy(), (commit.shard.start, commit.shard.stop))
        images = self._images.slice(first, last - first)
        if not all(commit.table[name].equals(images[name]) for name in ("row", "id", "version")):
            raise CorruptStore(
                f"The commit record {commit.shard.name} of {self._features.location} does not belong to this manifest; delete the record."
            )

    def _committed(self, rows: NDArray[np.int64], columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """Of the columns that commit records hold; empty strings where a row has no record. Opens the records of these rows only."""
        wanted = [name for name in columns if name in COMMITTED]
        if not wanted:
            return {}
        parts: list[pa.Table] = []
        done = 0
        for shard in self.shards:
            first, last = np.searchsorted(rows, (shard.start, shard.stop))
            if first < last:
                record = self._features.commits.read(shard.name).table.select(wanted)
                parts += [_nothing(wanted, first - done), record.take(pa.array(rows[first:last] - shard.start))]
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
    return Manifest(manifest.folder, manifest.batches[: batch + 1])


def _coded(versions: Versions, files: Sequence[str], rows: int) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """The values of all rows after these files, in order, as codes of the sorted names that are in use."""
    codes = np.full(rows, -1, np.int32)
    found: dict[str, int] = {}
    for name in files:
        with open_parquet(versions.folder / name) as file:
            table = file.read(columns=["row", versions.column]).combine_chunks()
        values = pa.chunked_array(table[versions.column]).combine_chunks().dictionary_encode()
        known = np.array([found.setdefault(value, len(found)) for value in values.dictionary.to_pylist()] + [-1], np.int32)
        numbers = table["row"].to_numpy()
        inside = numbers < rows  # of later batches than this snapshot's
        codes[numbers[inside]] = known[values.indices.fill_null(-1).to_numpy()][inside]
    used = np.bincount(codes[codes >= 0], minlength=len(found)) > 0
    names = sorted(name for name, code in found.items() if used[code])
    places = np.full(len(found) + 1, -1, np.int32)
    places[[found[name] for name in names]] = np.arange(len(names))
    return places[codes], tuple(names)


def _nothing(columns: Sequence[str], rows: int) -> pa.Table:
    return pa.table({name: pa.array([""]).take(pa.array(np.zeros(rows, np.int64))) for name in columns})
