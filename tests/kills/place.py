"""A store that kills are made on, on a local disk or S3: what is committed in it, and whether all is as if nothing had happened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.s3 import objects_in
from tests.stores import ROWS, objects, spec_for
from trunkline import open_features
from trunkline.accounting import RowCounts
from trunkline.clusters import Cluster
from trunkline.locations import Location
from trunkline.maintenance.verify import verify
from trunkline.shards import plan
from trunkline.specs import ClusterSpec, RunSpec
from trunkline.stages.extract import survey
from trunkline.store.feature_store import FeatureStore

QUARANTINED = ("3/9001.png", "7/9002.png")  # images that are none
BASE = "avg_pool"


@dataclass(frozen=True)
class Undisturbed:
    """What a run gives that nothing happens to, and how long its stages take: features of its readable rows, labels, what its heads
    say, masks, heads and predictions by name.
    """

    rows: int
    seconds: Mapping[str, float]
    ok_rows: NDArray[np.int64]
    features: NDArray[np.float32]
    labels: NDArray[Any]
    heads: list[dict[str, Any]]
    derived: frozenset[str]

    @property
    def shards(self) -> frozenset[str]:
        return frozenset(shard.name for shard in plan([(0, self.rows)], ROWS))


@dataclass(frozen=True)
class Place:
    """A fresh store of one format."""

    format: str
    store: str
    source: Path

    def spec(self, cluster: ClusterSpec) -> RunSpec:
        kind = "zarr" if self.format == "s3" else self.format
        return spec_for(self.source, self.store, format=kind, cluster=cluster.model_dump())  # type: ignore[arg-type]

    def objects(self) -> dict[str, object]:
        """Every object: where it lies → its content, and on a local disk when it was written."""
        if self.format == "s3":
            found = objects_in(Location.of(self.store))
            return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
        return dict(objects(Path(self.store)))

    def committed(self) -> set[str]:
        """Names of the committed shards."""
        root = FeatureStore.open(Location.of(self.store))
        return {name for d in root.datasets() for features in root.feature_sets(d.name) for name in features.commits.done()}

    def written_once(self, shards: set[str]) -> dict[str, object]:
        """The commit records and feature objects of these shards."""
        ends = [f"commits/{name}.parquet" for name in shards]
        if self.format == "hdf5":
            ends += [f"parts/{name}-" for name in shards]
        else:
            ends += [f"features.zarr/{BASE}/c/{int(name) // ROWS}/0" for name in shards]
        found = {name: what for name, what in self.objects().items() if any(end in name for end in ends)}
        assert len(found) == len(ends), (sorted(found), ends)
        return found

    def counts(self) -> RowCounts | None:
        """Rows by state; None where nothing is extracted yet."""
        root = FeatureStore.open(Location.of(self.store))
        begun = [features for dataset in root.datasets() for features in root.feature_sets(dataset.name)]
        return survey(self.spec(ClusterSpec(kind="inline"))).counts if begun else None

    def assert_what_is_visible_is_right(self, undisturbed: Undisturbed) -> None:
        """Rows add up; committed ones, and no others, can be read, and are those of an undisturbed run."""
        counts = self.counts()
        if counts is None:
            return
        assert counts.ok + counts.quarantined + counts.pending == counts.live == undisturbed.rows
        done = self.committed()
        ended = counts.ok + counts.quarantined
        assert ended == sum(min(ROWS, undisturbed.rows - int(name)) for name in done)
        features = open_features(self.store)
        rows = features.rows()
        assert len(rows) == counts.ok
        np.testing.assert_array_equal(features.numpy()[0], undisturbed.features[np.isin(undisturbed.ok_rows, rows)])

    def assert_as_if_nothing_had_happened(self, summary: Mapping[str, Any], undisturbed: Undisturbed) -> None:
        """All is there, equal bit for bit, each row counted, and `verify` finds nothing."""
        counted = (summary["rows"], summary["ok"], summary["quarantined"], summary["pending"])
        assert counted == (undisturbed.rows, undisturbed.rows - len(QUARANTINED), len(QUARANTINED), 0)
        assert self.committed() == undisturbed.shards
        x, y = open_features(self.store).numpy()
        np.testing.assert_array_equal(x, undisturbed.features)
        np.testing.assert_array_equal(y, undisturbed.labels)
        assert summary["heads"] == undisturbed.heads
        assert self.derived() == undisturbed.derived
        with Cluster(ClusterSpec(kind="inline")) as cluster:
            verified = verify(self.store, cluster)
        assert verified.findings == ()
        assert verified.unknown == ()

    def derived(self) -> frozenset[str]:
        """Masks, heads and predictions; their names carry the digests of all that they were made of."""
        kinds = ("masks/", "heads/", "predictions/")
        names = {name for name in self.objects() if name.startswith(kinds)}
        return frozenset(name for name in names if not name.endswith(".tmp"))
