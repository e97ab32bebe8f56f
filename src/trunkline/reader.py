"""Reading a feature set: `open_features(URI)`. Only committed, live rows; as they were when it was opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from trunkline.errors import StoreError, did_you_mean
from trunkline.locations import Location
from trunkline.reading import card, lazy, masks, tables
from trunkline.reading.feature_reader import FeatureReader
from trunkline.reading.nearest import Found, nearest
from trunkline.reading.selection import Choice, Names, Selection
from trunkline.reading.snapshot import Snapshot
from trunkline.reading.streams import Stream
from trunkline.reading.tensorflow_data import tf_data
from trunkline.reading.torch_data import torch_dataset
from trunkline.reading.view import Batch, View, in_words
from trunkline.selection import Mask
from trunkline.shards import Shard
from trunkline.specs import Recipe
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore


def open_features(uri: str | os.PathLike[str], batch: int | None = None, dataset: str | None = None) -> Features:
    """Open a feature set for reading.

    Parameters
    ----------
    uri : a feature set, `STORE/features/<dataset>/<recipe>`; or a store that holds exactly one (of this dataset).
    batch : the dataset as of this batch of its manifest, whatever came later: later images are not there, and images that were
        removed later are. Labels and splits are those of now.
    dataset : which dataset of a store.

    Raises
    ------
    StoreError : there is none, several, or one that another version wrote.
    DataError : there is no such batch.
    """
    location = Location.of(uri)
    if (location / "store.json").exists():
        return Features(_only_one(FeatureStore.open(location), dataset), batch)
    features = Features(FeatureSet.open(location), batch)
    if dataset not in (None, features.dataset.name):
        raise StoreError(f"{location} holds features of the dataset {features.dataset.name!r}, not of {dataset!r}.")
    return features


class Features:
    """One feature set, a snapshot of its committed rows: what a writer adds later is not seen. `refresh()` gives a new one.

    Every way of reading takes the same keywords, those of `Selection`: split, label, batch, rows, ids, layer, columns, mask. Only live
    rows that have features come, always in row order, each once.
    """

    def __init__(self, features: FeatureSet, batch: int | None = None) -> None:
        self.feature_set = features
        store, dataset = _store_and_dataset(features.location)
        self._store = FeatureStore.open(store)
        self.dataset: Dataset = self._store.dataset(dataset)
        self.batch = batch
        self.snapshot = Snapshot(self.dataset, features, batch)

    def __repr__(self) -> str:
        widths = ", ".join(f"{layer}: {dim}" for layer, dim in self.layers.items())
        as_of = "" if self.batch is None else f", as of batch {self.batch}"
        return f"<Features {self.uri} ({self.recipe.backbone}, {widths}, {len(self.snapshot.shards)} shards{as_of})>"

    def _repr_html_(self) -> str:
        return card.html(self.snapshot, self.feature_set, self.dataset.name, self.batch)

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

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels there are, in the order of the class numbers that `tf_data` and `torch` give."""
        return self.snapshot.codes("label")[1]

    def refresh(self) -> Features:
        """A new snapshot, of now."""
        return Features(FeatureSet.open(self.feature_set.location), self.batch)

    def index(self) -> pa.Table:
        """Every row that holds or held an image, in row order.

        Returns
        -------
        Arrow table: row (int64), id, uri, label, split, status (`ok`, `quarantined`, `pending`, `removed`, or `void`: removed before it
        was read, seen as of an earlier batch), reason and detail of quarantined rows, sha256 of the image's bytes, version.
        """
        return self._index

    def rows(self, split: Names | None = None, **choice: Unpack[Choice]) -> NDArray[np.int64]:
        """The live rows that have features, of a selection or all, ascending. Raises DataError for what is not there."""
        return Selection(split, **choice).rows_of(self.snapshot)

    def numpy(self, split: Names | None = None, **choice: Unpack[Choice]) -> tuple[NDArray[Any], NDArray[np.object_]]:
        """Features and labels, in row order.

        Parameters
        ----------
        split : `train`, `test` or `val`, or several; all by default.
        choice : label, batch, rows, ids, layer, columns, mask; see `Selection`.

        Returns
        -------
        X : (n, dim) in the stored dtype; (n, height, width, channels) where maps are kept and all columns wanted.
        y : (n,) labels, None where a row has none.
        """
        view = self.view(split, **choice)
        return view.features(), view.labels()

    def dask(self, split: Names | None = None, **choice: Unpack[Choice]) -> Any:
        """As `numpy`'s X, a Dask array that is read block by block when computed; a block is a run of whole shards."""
        return lazy.dask(self.view(split, **choice))

    def xarray(self, split: Names | None = None, lazily: bool = False, **choice: Unpack[Choice]) -> Any:
        """A DataArray with dimensions row and feature, and coordinates row, id, label, split; over a Dask array if `lazily`."""
        return tables.xarray(self.view(split, **choice), lazily)

    def arrow(self, split: Names | None = None, **choice: Unpack[Choice]) -> pa.Table:
        """Arrow table: row (int64), id, label, split, feature (a fixed-size list in the stored dtype; kept maps flat)."""
        return tables.arrow(self.view(split, **choice))

    def pandas(self, split: Names | None = None, **choice: Unpack[Choice]) -> Any:
        """A frame with row numbers as its index: id, label, split, and a column a feature, `<layer>_<number>`."""
        return tables.pandas(self.view(split, **choice))

    def batches(self, size: int, split: Names | None = None, **choice: Unpack[Choice]) -> Iterator[Batch]:
        """(rows, X, y) of `size` rows each, in row order, with a few shards in memory at a time."""
        return self.view(split, **choice).batches(size)

    def nearest(
        self, vectors: ArrayLike, k: int = 20, split: Names | None = None, *, metric: str = "cosine", **choice: Unpack[Choice]
    ) -> Found:
        """The rows nearest to each vector: exact, read block by block.

        Parameters
        ----------
        vectors : (n, dim), such as `read(rows)` gives; with `mask` or `columns` also (n, columns).
        k : neighbours of each.
        metric : `cosine` (1 − the cosine) or `euclidean`.

        Returns
        -------
        rows : (n, k) int64, the nearest first, of equally near ones the lower row. A row that was asked about is its own neighbour.
        distances : (n, k) float64.

        Raises
        ------
        DataError : vectors that do not fit, an unknown metric, or k more than the rows that are meant.
        """
        return nearest(self.view(split, **choice), vectors, k, metric)

    def tf_data(
        self,
        split: Names | None = None,
        *,
        batch_size: int = 256,
        shuffle: bool = False,
        seed: int = 0,
        epochs: int | None = 1,
        **choice: Unpack[Choice],
    ) -> Any:
        """A `tf.data.Dataset` of batches (features, class numbers), which reads a few shards at a time.

        Parameters
        ----------
        batch_size : rows of a batch; the last one of a pass may be smaller.
        shuffle : mix shards, and rows within about 64 MiB of them; another order in each pass, the same for the same seed.
        epochs : passes in one iteration of the dataset; None to go on for ever.

        Returns
        -------
        A dataset whose `class_names` the class numbers (int64, −1 where a row has no label) stand for: those of the whole dataset.
        """
        view = self.view(split, **choice)
        return tf_data(Stream.of(view, batch_size, shuffle), self.classes, seed, epochs)

    def torch(
        self,
        split: Names | None = None,
        *,
        batch_size: int = 256,
        shuffle: bool = False,
        seed: int | None = None,
        **choice: Unpack[Choice],
    ) -> Any:
        """A PyTorch `IterableDataset` of batches: `DataLoader(dataset, batch_size=None, num_workers=2)`; each worker reads its own shards.

        Parameters
        ----------
        batch_size : rows of a batch; the last one of each worker may be smaller.
        shuffle : mix shards, and rows within about 64 MiB of them.
        seed : of the order, with `set_epoch`; without one `torch.manual_seed` decides, and each pass has another order.

        Returns
        -------
        A dataset whose `class_names` the class numbers (int64, −1 where a row has no label) stand for: those of the whole dataset.
        """
        view = self.view(split, **choice)
        return torch_dataset(Stream.of(view, batch_size, shuffle), self.classes, seed)

    def view(self, split: Names | None = None, **choice: Unpack[Choice]) -> View:
        """What a selection comes down to: rows, columns, and a reader of one layer."""
        selection = Selection(split, **choice)
        layer = selection.layer_of(self.layers)
        columns = selection.columns_of(layer, self.layers[layer])
        if selection.mask is not False:
            mask = self._pinned_mask if selection.mask is True else masks.at(selection.mask)
            columns = masks.kept(mask, layer, self.layers[layer], self.recipe)
        return View(self.snapshot, self._reader(layer), selection.rows_of(self.snapshot), columns)

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """(n,) str or None."""
        codes, names = self.snapshot.codes("label")
        return in_words(codes[rows], names)

    def read(
        self, rows: NDArray[np.int64], layer: str | None = None, columns: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Features of the given rows, which ascend and are committed: (n, dim), kept maps flat. Raises DataError for an unknown layer."""
        selection = Selection(layer=layer, columns=columns)
        layer = selection.layer_of(self.layers)
        return self._reader(layer).read(rows, selection.columns_of(layer, self.layers[layer]))

    def commits(self) -> Iterator[Commit]:
        """The commit records of the snapshot, in row order."""
        return self.snapshot.commits()

    def shards(self) -> list[Shard]:
        """The committed shards, in order."""
        return list(self.snapshot.shards)

    def _reader(self, layer: str) -> FeatureReader:
        return FeatureReader(self.feature_set.location, self.feature_set.layout, layer, self.feature_set.arrays)

    @cached_property
    def _pinned_mask(self) -> Mask:
        return masks.pinned(self._store, self.feature_set)

    @cached_property
    def _index(self) -> pa.Table:
        held = [np.arange(start, stop) for start, stop, _ in self.snapshot.batches]
        return self.snapshot.table(np.concatenate([np.arange(0), *held]))


def _only_one(store: FeatureStore, dataset: str | None) -> FeatureSet:
    names = [each.name for each in store.datasets()]
    if dataset is not None and dataset not in names:
        raise StoreError(
            f"{store.root} has no dataset {dataset!r}.{did_you_mean(dataset, names)} There are: {', '.join(names) or 'none'}."
        )
    found = [features for name in names if dataset in (None, name) for features in store.feature_sets(name)]
    if len(found) != 1:
        listed = "; ".join(features.location.uri for features in found) or "none"
        whose = f" of the dataset {dataset!r}" if dataset else ""
        raise StoreError(f"{store.root} holds {len(found)} feature sets{whose}: {listed}. Open one of them by its own URI.")
    return found[0]


def _store_and_dataset(location: Location) -> tuple[Location, str]:
    parts = location.uri.rsplit("/", 3)
    if len(parts) != 4 or parts[1] != "features":
        raise StoreError(
            f"{location} does not lie in a store as STORE/features/<dataset>/<recipe>; open it where it was written."
        )
    return Location(parts[0]), parts[2]
