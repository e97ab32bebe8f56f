"""A backfill's store, dataset, rows and feature sets; what cannot be done is refused before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from trunkline import runtimes
from trunkline.backbones.compiled import committed_backbone, compiled
from trunkline.clusters import Cluster
from trunkline.errors import DataError, SpecError, StoreError
from trunkline.locations import Location
from trunkline.manifest import Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.projection import Projection, WorkerMemory
from trunkline.shards import Shard
from trunkline.specs import BackfillSpec
from trunkline.specs.backfill import bounds
from trunkline.stages.extract import layout_for, order_for, refuse_private_storage
from trunkline.stages.up_to_date import Lack, Spans, Target, runtime_for
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore


@dataclass(frozen=True)
class OpenBackfill:
    """A backfill's store, dataset and feature sets, and the row ranges that were asked for."""

    store: FeatureStore
    dataset: Dataset
    manifest: Manifest
    targets: tuple[Target, ...]
    spans: Spans


def open_backfill(spec: BackfillSpec, cluster: Cluster, progress: Progress = silent) -> OpenBackfill:
    """Store, dataset and feature sets; those that are new are created, and their backbones compiled.

    Raises
    ------
    StoreError : no store, no such dataset, or several and none is named; a feature set that is stored otherwise.
    DataError : rows that there are not.
    SpecError, BackboneError : a recipe that cannot be.
    """
    store = FeatureStore.open(Location.of(spec.store))
    refuse_private_storage(store.root, cluster)
    dataset = _dataset(store, spec.dataset)
    manifest = dataset.manifest
    if not manifest.batches:
        raise DataError(f"The dataset {dataset.name} in {store.root} has no images yet. Run `trunkline scan` first.")
    spans = chosen_spans(spec, manifest)
    targets = _targets(spec, store, dataset, manifest, cluster, progress) if spec.recipes else _existing(store, dataset)
    return OpenBackfill(store, dataset, manifest, tuple(targets), spans)


def chosen_spans(spec: BackfillSpec, manifest: Manifest) -> Spans:
    """Row ranges [start, stop) that a spec asks for. Raises DataError where there are no such rows."""
    if spec.rows:
        first, stop = bounds(spec.rows)
        if first >= manifest.rows:
            raise DataError(f"rows {spec.rows} begin beyond the last row; the dataset has rows 0 to {manifest.rows - 1:,}.")
        return [(first, manifest.rows if stop is None else min(stop, manifest.rows))]
    batches = manifest.batches
    if spec.batches:
        first, stop = bounds(spec.batches)
        if first >= len(batches):
            raise DataError(
                f"batches {spec.batches} begin beyond the last one; the dataset has batches 0 to {len(batches) - 1}."
            )
        batches = batches[first:stop]
    if spec.since or spec.until:
        batches = tuple(batch for batch in batches if _is_between(batch.scanned, spec))
        if not batches:
            days = sorted(f"{batch.scanned:%Y-%m-%d}" for batch in manifest.batches)
            raise DataError(
                f"No batch was scanned {_days(spec)} (UTC); those of the dataset were scanned between {days[0]} and {days[-1]}."
            )
    return [(batch.start, batch.stop) for batch in batches]


def refuse_what_does_not_fit(
    spec: BackfillSpec, cluster: Cluster, opened: OpenBackfill, lacks: Sequence[Lack], units: Sequence[Shard]
) -> None:
    """Judge what can be known before workers start, of all recipes together.

    Raises
    ------
    StoreError : rows too wide, or a disk too small.
    DataError : workers that need more memory than this machine has.
    SpecError : a runtime that cannot execute a network here.
    """
    each = [
        Projection.of(lack.features.layout, sum(shard.rows for unit in units for shard in lack.shards(unit)), opened.store.root)
        for lack in lacks
    ]
    Projection.together(each, opened.store.root).refuse_what_does_not_fit(ignore_free_space=spec.storage.ignore_free_space)
    if cluster.kind in ("inline", "local", "cuda"):
        memories = [WorkerMemory.of(target.features.layout, target.backbone) for target in opened.targets]
        WorkerMemory.together(memories).refuse_what_does_not_fit(cluster.workers)
    if cluster.kind in ("inline", "local"):
        for target in opened.targets:
            runtimes.refuse_what_cannot_run(runtime_for(target.runtime, target.backbone, cluster), target.backbone)


def _dataset(store: FeatureStore, name: str | None) -> Dataset:
    if name is not None:
        return store.known_dataset(name)
    known = store.datasets()
    if len(known) == 1:
        return known[0]
    if not known:
        raise StoreError(f"{store.root} holds no dataset yet. Run `trunkline scan` first.")
    raise StoreError(
        f"{store.root} holds several datasets: {', '.join(each.name for each in known)}. Name one of them as dataset."
    )


def _targets(
    spec: BackfillSpec, store: FeatureStore, dataset: Dataset, manifest: Manifest, cluster: Cluster, progress: Progress
) -> Iterator[Target]:
    """The feature sets of the spec's recipes."""
    source = dataset.source.root.uri
    asked = [(recipe, spec.run_spec(recipe, source, dataset.name)) for recipe in spec.recipes]
    orders = [order_for(run, cluster) for _, run in asked]
    digests = [order.recipe.digest() for order in orders]
    for number, digest in enumerate(digests):
        if digest in digests[:number]:
            words = " and ".join(recipe.said for (recipe, _), each in zip(asked, digests, strict=True) if each == digest)
            raise SpecError(f"The recipes {words} mean the same features ({digest}); leave one out.")
    for (_, run), order in zip(asked, orders, strict=True):
        progress(Step("backfill", 0, None, f"preparing {order.recipe.backbone}"))
        backbone = compiled(store.root, order)
        location = store.feature_set_location(dataset.name, order.recipe)
        layout = layout_for(location, run, manifest.spans, backbone, cluster)
        yield Target(FeatureSet.create(location, order.recipe, layout), backbone, spec.runtime)


def _existing(store: FeatureStore, dataset: Dataset) -> Iterator[Target]:
    """Every feature set of the dataset, with the backbone, batch and runtime that it was begun with."""
    found = store.feature_sets(dataset.name)
    if not found:
        raise DataError(
            f"The dataset {dataset.name} in {store.root} has no feature sets yet, so recipes must say which to make, such as "
            "--backbone efficientnet-lite0."
        )
    for features in found:
        names = sorted(features.commits.done())
        environment = features.commits.read(names[0]).environment if names else {}
        backbone = committed_backbone(store.root, features.recipe, environment.get("batch"))
        yield Target(features, backbone, environment.get("runtime", "auto"))


def _is_between(scanned: datetime, spec: BackfillSpec) -> bool:
    day = scanned.astimezone(UTC).date()
    return (spec.since is None or spec.since <= day) and (spec.until is None or day <= spec.until)


def _days(spec: BackfillSpec) -> str:
    if spec.since and spec.until:
        return f"from {spec.since} to {spec.until}"
    return f"since {spec.since}" if spec.since else f"until {spec.until}"
