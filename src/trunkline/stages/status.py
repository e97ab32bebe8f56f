"""Status: what a store holds, for people and for `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trunkline.accounting import account
from trunkline.heads import artifact
from trunkline.locations import Location
from trunkline.reader import Features
from trunkline.report.data import Quarantined
from trunkline.shards import plan
from trunkline.stages.report import quarantined
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore


@dataclass(frozen=True)
class StoreStatus:
    """One entry a feature set; a dataset that was only scanned has an entry without one. `bytes` is the size of all of the store."""

    store: str
    datasets: list[dict[str, Any]]
    bytes: int

    def summary(self) -> dict[str, Any]:
        return vars(self)


def status(store: str) -> StoreStatus:
    """Raises StoreError where there is no store."""
    root = FeatureStore.open(Location.of(store))
    datasets = [_dataset(root, dataset) for dataset in root.datasets()]
    return StoreStatus(root.root.uri, datasets, root.root.size())


def quarantine(store: str, dataset: str | None = None) -> list[tuple[str, Quarantined]]:
    """(dataset, image) of every live quarantined image; one that several recipes share stands once. Raises StoreError."""
    root = FeatureStore.open(Location.of(store))
    found: dict[tuple[str, str], Quarantined] = {}
    for each in root.datasets():
        if dataset in (None, each.name):
            for features in root.feature_sets(each.name):
                found |= {(each.name, image.id): image for image in quarantined(Features(features))}
    return [(name, image) for (name, _), image in found.items()]


def _dataset(root: FeatureStore, dataset: Dataset) -> dict[str, Any]:
    manifest = dataset.manifest
    return {
        "dataset": dataset.name,
        "source": dataset.source.root.uri,
        "batches": len(manifest.batches),
        "images": sum(stop - start for start, stop in manifest.spans) - len(manifest.removed),
        "feature_sets": [_feature_set(root, dataset, features) for features in root.feature_sets(dataset.name)],
    }


def _feature_set(root: FeatureStore, dataset: Dataset, features: FeatureSet) -> dict[str, Any]:
    manifest = dataset.manifest
    done = features.commits.done()
    counted = account(manifest, features.commits.each(done, ("row", "status", "reason")))
    folder = root.beside("heads", features)
    heads = [found for name in folder.names() if (found := artifact.load(folder / name))]
    return {
        "feature_set": features.location.uri,
        "backbone": features.recipe.backbone,
        "layers": dict(features.layout.dims),
        "format": features.layout.format,
        "ok": counted.counts.ok,
        "quarantined": counted.counts.quarantined,
        "pending": counted.counts.pending,
        "removed": counted.counts.removed,
        "shards_done": len(done),
        "shards": sum(1 for _ in plan(manifest.spans, features.layout.rows_per_shard)),
        "heads": [{"kind": head.kind, **head.metrics.summary()} for head in heads],
        "bytes": features.location.size(),
    }
