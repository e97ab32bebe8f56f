"""Stores with features that no network had to compute: what a scan and an extraction leave, made in milliseconds."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.manifests import appended, say
from trunkline.blocks import FeatureBlock, RowRecord, Status, Timings, rows_digest
from trunkline.locations import Location
from trunkline.shards import Shard, plan
from trunkline.sources import FolderSource, Listed
from trunkline.specs import Recipe
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.store.layout import ArrayLayout

COMMITTED = 1_790_000_000.0  # when all of these shards were committed, in seconds since 1970


def value(rows: NDArray[np.int64], dim: int, number: int = 0) -> NDArray[np.float32]:
    """Features that say where they stand: row + column / 1000, and a half more in the second layer."""
    return (rows[:, None] + np.arange(dim) / 1000 + number / 2).astype(np.float32)


@dataclass(frozen=True)
class Made:
    """A store with one dataset and one feature set, written step by step."""

    place: Path
    dims: Mapping[str, int] = field(default_factory=lambda: {"pool": 6, "late": 3})
    rows_per_shard: int = 64
    format: str = "zarr"
    name: str = "fruit"
    maps: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtype: str = "float32"

    @cached_property
    def dataset(self) -> Dataset:
        dataset = FeatureStore.create(Location.of(self.place)).dataset(self.name)
        dataset.bind(FolderSource(Location("/photos")))
        return dataset

    @cached_property
    def feature_set(self) -> FeatureSet:
        recipe = Recipe(
            backbone="efficientnet-lite0",
            weights="0123456789abcdef",
            layers=tuple(self.dims),
            size=224,
            fit="crop",
            kernel="bilinear",
            decoder="some/1",
            normalisation="(x - 127) / 128",
            precision="f32",
            dtype=self.dtype,
        )
        place = FeatureStore(Location.of(self.place)).feature_set_location(self.name, recipe)
        layout = ArrayLayout(self.format, self.rows_per_shard, self.dims, self.dtype, maps=self.maps)
        return FeatureSet.create(place, recipe, layout)

    @property
    def uri(self) -> str:
        return self.feature_set.location.uri

    def scan(self, ids: Sequence[str], removed: Sequence[int] = (), version: str = "1") -> int:
        """Add a batch of images; the first of its rows. An id's first folder is its label, every third image is for the test."""
        manifest = appended(self.dataset.manifest, [Listed(each, 1, version) for each in ids], removed)
        first = manifest.batches[-1].start if manifest.batches else 0
        say(self.dataset.labels, {first + n: each.split("/")[0] for n, each in enumerate(ids) if "/" in each})
        say(self.dataset.splits, {first + n: "test" if n % 3 == 2 else "train" for n in range(len(ids))})
        return first

    def extract(self, shards: int | None = None, bad: Container[int] = ()) -> None:
        """Write and commit what is missing, or only the next shards of it; bad rows are quarantined."""
        manifest, done = self.dataset.manifest, self.feature_set.commits.done()
        self.feature_set.arrays.grow(manifest.rows)
        todo = [shard for shard in plan(manifest.spans, self.rows_per_shard) if shard.name not in done]
        for shard in todo[:shards]:
            self._commit(shard, bad)

    def values(self, rows: NDArray[np.int64], layer: str = "pool") -> NDArray[np.float32]:
        return value(rows, self.dims[layer], list(self.dims).index(layer)).astype(self.dtype)

    def _commit(self, shard: Shard, bad: Container[int]) -> None:
        images = self.dataset.manifest.read(shard)
        records = [_record(row, row["row"] in bad) for row in images.to_pylist()]
        lost = [record.status != Status.OK for record in records]
        features = {}
        for layer in self.dims:
            features[layer] = self.values(np.arange(shard.start, shard.stop), layer)
            features[layer][lost] = np.nan
        self.feature_set.arrays.write(shard, features)
        timings = Timings(0.1, 0.1, 0.1, 0.1, COMMITTED - 1, COMMITTED)
        block = FeatureBlock(shard, features, records, timings)
        digest = rows_digest(images)
        self.feature_set.commits.create(
            Commit.of(
                block, recipe=self.feature_set.recipe.digest(), rows_digest=digest, lease=1, environment={}, timings=timings
            )
        )


def _record(row: Mapping[str, object], bad: bool) -> RowRecord:
    record = (int(str(row["row"])), str(row["id"]), str(row["version"]))
    if row["removed"]:
        return RowRecord(*record, Status.VOID, detail="removed before it was read")
    if bad:
        return RowRecord(*record, Status.QUARANTINED, "truncated", "ends early")
    return RowRecord(*record, Status.OK, sha256=f"{record[0]:064x}", size=1)


def ids(label: str, count: int, first: int = 0) -> list[str]:
    """`apple/0000.jpg`, `apple/0001.jpg`, …"""
    return [f"{label}/{number:04d}.jpg" for number in range(first, first + count)]
