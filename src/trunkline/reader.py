"""Reading a feature set: `open_features(URI)`. Only committed, live rows; as they were when it was opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline.blocks import Status, rows_digest
from trunkline.errors import CorruptStore, DataError, StoreError, did_you_mean
from trunkline.locations import Location
from trunkline.manifest import Manifest
from trunkline.shards import Shard, plan
from trunkline.specs import Recipe
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore

SHARDS_PER_READ = 16


def open_features(uri: str | os.PathLike[str]) -> Features:
    """Open a feature set for reading.

    Parameters
    ----------
    uri : a feature set, `STORE/features/<dataset>/<recipe>`; or a store that holds exactly one.

    Raises
    ------
    StoreError : there is none, several, or one that another version wrote.
    """
    location = Location.of(uri)
    if (location / "store.json").exists():
        store = FeatureStore.open(location)
        found = [features for dataset in store.datasets() for features in store.feature_sets(dataset.name)]
        if len(found) != 1:
            listed = "; ".join(features.location.uri for features in found) or "none"
            raise StoreError(f"{location} holds {len(found)} feature sets: {listed}. Open one of them by its own URI.")
        return Features(found[0])
    return Features(FeatureSet.open(location))


class Features:
    """One feature set, a snapshot of its committed rows."""

    def __init__(self, features: FeatureSet) -> None:
        self.feature_set = features
        store, dataset = _store_and_dataset(features.location)
        self.dataset: Dataset = FeatureStore.open(store).dataset(dataset)
        self._manifest: Manifest = self.dataset.manifest
        self._done = features.commits.done()

    def __repr__(self) -> str:
        widths = ", ".join(f"{layer}: {dim}" for layer, dim in self.feature_set.layout.dims.items())
        return f"<Features {self.uri} ({self.recipe.backbone}, {widths}, {len(self._done)} shards)>"

    @property
    def uri(self) -> str:
        return self.feature_set.location.uri

    @property
    def recipe(self) -> Recipe:
        return self.feature_set.recipe

    @property
    def layers(self) -> dict[str, int]:
        """Layer → width."""
        return dict(self.feature_set.layout.dims)

    def index(self) -> pa.Table:
        """Every row that holds or held an image, in row order.

        Returns
        -------
        Arrow table: row (int64), id, uri, label, split, status (`ok`, `quarantined`, `pending` or `removed`), reason and detail of
        quarantined rows, sha256 of the image's bytes, version.
        """
        return self._index

    def rows(self, split: str | None = None) -> NDArray[np.int64]:
        """The live rows that have features, of one split or of all, ascending. Raises DataError for an unknown split."""
        live = np.asarray(self._index["status"]) == Status.OK
        if split is not None:
            splits = np.asarray(self._index["split"].to_pylist(), object)
            known = sorted({name for name in splits if name})
            if split not in known:
                raise DataError(
                    f"There is no split {split!r}.{did_you_mean(split, known)} There are: {', '.join(known) or 'none'}."
                )
            live &= splits == split
        rows: NDArray[np.int64] = self._index["row"].to_numpy()[live]
        return rows

    def numpy(
        self, split: str | None = None, layer: str | None = None, columns: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
        """Features and labels of the live rows, in row order.

        Parameters
        ----------
        split : `train`, `test` or `val`; all by default.
        layer : which array; the first by default.
        columns : (dim,) bool, such as a mask's `kept`; all by default.

        Returns
        -------
        X : (n, dim) in the stored dtype; (n, height, width, channels) where maps are kept and all columns wanted.
        y : (n,) labels, None where a row has none.
        """
        rows = self.rows(split)
        X = self.read(rows, layer, columns)
        if columns is None:
            X = X.reshape(len(rows), *self.feature_set.layout.shape(self._layer(layer)))
        return X, self.labels(rows)

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """(n,) str or None."""
        values = np.asarray(self._index["label"].to_pylist(), object)
        return values[np.searchsorted(self._index["row"].to_numpy(), rows)]

    def read(
        self, rows: NDArray[np.int64], layer: str | None = None, columns: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Features of the given rows, which ascend and are committed: (n, dim), kept maps flat. Raises DataError for an unknown layer."""
        layer = self._layer(layer)
        width = self.layers[layer] if columns is None else int(columns.sum())
        out = np.empty((len(rows), width), self.feature_set.layout.dtype)
        for first, last, start, stop in self._pieces(rows):
            block = self.feature_set.arrays.read(layer, start, stop)[rows[first:last] - start]
            if np.isnan(block[:, :1]).any():
                raise CorruptStore(
                    f"Committed rows between {start} and {stop} of {self.uri} read as NaN: an object is missing. Restore it, or delete "
                    "their records under commits/ and run again."
                )
            out[first:last] = block if columns is None else block[:, columns]
        return out

    def commits(self) -> Iterator[Commit]:
        """The commit records of the snapshot, in row order."""
        yield from self.feature_set.commits.each(self._done)

    def _layer(self, layer: str | None) -> str:
        if layer is None:
            return next(iter(self.layers))
        if layer not in self.layers:
            raise DataError(
                f"There is no layer {layer!r}.{did_you_mean(layer, self.layers)} There are: {', '.join(self.layers)}."
            )
        return layer

    def _pieces(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
        """Slices [first, last) of `rows` that lie in the same few shards, with the row range to read for them."""
        span = self.feature_set.layout.rows_per_shard * SHARDS_PER_READ
        edges = [*np.flatnonzero(np.diff(rows // span, prepend=-1)), len(rows)]
        for first, last in pairwise(edges):
            yield int(first), int(last), int(rows[first]), int(rows[last - 1]) + 1

    @cached_property
    def _index(self) -> pa.Table:
        images = self._manifest.images()
        count = self._manifest.rows
        source = self.dataset.source
        known = self._committed_columns(images, count)
        rows = images["row"].to_numpy()
        status = known["status"][rows]
        status[np.asarray(images["removed"])] = "removed"
        columns = {
            "row": rows,
            "id": images["id"],
            "uri": [source.uri_of(image_id) for image_id in images["id"].to_pylist()],
            "label": pa.array(self.dataset.labels.values(count).of(rows), pa.string()),
            "split": pa.array(self.dataset.splits.values(count).of(rows), pa.string()),
            **{name: pa.array(values[rows], pa.string()) for name, values in known.items() if name != "status"},
            "status": pa.array(status, pa.string()),
            "version": images["version"],
        }
        order = ("row", "id", "uri", "label", "split", "status", "reason", "detail", "sha256", "version")
        return pa.table({name: columns[name] for name in order})

    def _committed_columns(self, images: pa.Table, count: int) -> dict[str, NDArray[np.object_]]:
        """Status, reason, detail and sha256 by row number, from the commit records; pending where there is none."""
        known = {
            name: np.full(count, fill, object)
            for name, fill in (("status", Status.PENDING), ("reason", ""), ("detail", ""), ("sha256", ""))
        }
        rows = images["row"].to_numpy()
        for commit in self.commits():
            first, last = np.searchsorted(rows, (commit.shard.start, commit.shard.stop))
            if commit.rows_digest != rows_digest(images.slice(first, last - first)):
                raise CorruptStore(
                    f"The commit record {commit.shard.name} of {self.uri} does not belong to this manifest; delete the record."
                )
            for name, values in known.items():
                values[commit.shard.start : commit.shard.stop] = commit.table[name].to_pylist()
        return known

    def shards(self) -> list[Shard]:
        """The committed shards, in order."""
        return [
            shard for shard in plan(self._manifest.spans, self.feature_set.layout.rows_per_shard) if shard.name in self._done
        ]


def _store_and_dataset(location: Location) -> tuple[Location, str]:
    parts = location.uri.rsplit("/", 3)
    if len(parts) != 4 or parts[1] != "features":
        raise StoreError(
            f"{location} does not lie in a store as STORE/features/<dataset>/<recipe>; open it where it was written."
        )
    return Location(parts[0]), parts[2]
