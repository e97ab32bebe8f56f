"""Extract: manifest → features. Plans what is missing, fans it out, counts every row."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline import runtimes
from trunkline.accounting import Account, RowCounts, account
from trunkline.backbones.compilation import Order
from trunkline.backbones.compiled import Compiled, compiled
from trunkline.backbones.resolution import order_of, resolve
from trunkline.blocks import Status
from trunkline.clusters import Cluster
from trunkline.engine import GPU_BATCH, Engine
from trunkline.errors import DataError, StoreError
from trunkline.extraction import ShardReceipt
from trunkline.locations import Location
from trunkline.manifest import Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.projection import Projection, WorkerMemory
from trunkline.reader import Features
from trunkline.shards import Shard, plan, remaining, rows_per_shard
from trunkline.specs import RunSpec
from trunkline.stages.effects import Effect, measured, stored
from trunkline.stages.up_to_date import bring_up_to_date, nothing_readable, runtime_for, stop_if_too_bad
from trunkline.stages.watched import in_words, watched
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore
from trunkline.store.layout import ArrayLayout

MULTIPLY_ACCUMULATES_PER_SECOND = 50e9  # of one CPU core, float32; only sizes shards


@dataclass(frozen=True)
class ExtractReceipt:
    """What an extraction did. `extracted` and `reused` count live rows; `images_per_second` is from first read to last commit.

    `engine` is how workers used their machine, None where nothing was left to extract; `effects` what a faster recipe than float32
    and exact decoding did to the features.
    """

    feature_set: str
    recipe: str
    counts: RowCounts
    reasons: Mapping[str, int]
    extracted: int
    reused: int
    shards_done: int
    images_per_second: float | None
    dims: Mapping[str, int]
    dtype: str
    engine: Engine | None
    effects: Sequence[Effect]
    seconds: float

    def in_words(self) -> str:
        counts = self.counts
        bad = f"{counts.quarantined:,} quarantined{in_words(self.reasons)}"
        return f"{self.extracted:,} extracted, {self.reused:,} from before; {counts.ok:,} ok, {bad}, {counts.pending:,} pending"


@watched("extract", ExtractReceipt.in_words)
def extract(spec: RunSpec, cluster: Cluster, progress: Progress = silent) -> ExtractReceipt:
    """Extract what is not committed yet.

    Raises
    ------
    BackboneError, StoreError, DataError : before the first image is read.
    TooManyBadImages : more than `max_bad_fraction` of at least 100 rows; what was committed stays.
    DataError : not one image could be read.
    LeaseHeld : another run writes this feature set.
    """
    started = time.monotonic()
    store = FeatureStore.open(Location.of(spec.store))
    refuse_private_storage(store.root, cluster)
    dataset = store.dataset(spec.dataset_name)
    manifest = dataset.manifest
    if not manifest.batches:
        raise DataError(f"The dataset {dataset.name} in {store.root} has no images yet. Run `trunkline scan` first.")
    dataset.source.check()
    order = order_for(spec, cluster)
    progress(Step("extract", 0, None, "preparing the backbone"))
    backbone = compiled(store.root, order)
    location = store.feature_set_location(dataset.name, order.recipe)
    layout = layout_for(location, spec, manifest.spans, backbone, cluster)
    shards = list(plan(manifest.spans, layout.rows_per_shard))
    missing = remaining(shards, FeatureSet.committed(location))
    if missing:
        refuse_what_does_not_fit(spec, cluster, backbone, layout, missing, store.root)
    features = FeatureSet.create(location, order.recipe, layout)
    fresh, engine = bring_up_to_date(
        features, dataset, backbone, cluster, spec.engine, spec.runtime, spec.max_bad_fraction, progress
    )
    after = _account(features, manifest)
    if not after.counts.ok and after.counts.quarantined:
        raise nothing_readable(after)
    stop_if_too_bad(after, spec.max_bad_fraction)
    effects = measured(Features(features), backbone)
    return _receipt(features, after, fresh, engine, effects, time.monotonic() - started)


def refuse_what_does_not_fit(
    spec: RunSpec, cluster: Cluster, backbone: Compiled, layout: ArrayLayout, missing: Sequence[Shard], root: Location
) -> None:
    """Judge what can be known before workers start.

    Raises
    ------
    StoreError : rows too wide, or a disk too small.
    DataError : workers that need more memory than this machine has.
    SpecError : a runtime that cannot execute the network here.
    """
    projection = Projection.of(layout, sum(shard.rows for shard in missing), root)
    projection.refuse_what_does_not_fit(ignore_free_space=spec.storage.ignore_free_space)
    if cluster.is_here:
        WorkerMemory.of(layout, backbone).refuse_what_does_not_fit(cluster.workers)
    if cluster.kind in ("inline", "local"):
        runtimes.refuse_what_cannot_run(runtime_for(spec.runtime, backbone, cluster), backbone)


def order_for(spec: RunSpec, cluster: Cluster) -> Order:
    """The network and recipe of a spec, with the batch of GPUs where it will run on some."""
    order = order_of(spec)
    if order.batch is None and _is_for_gpus(spec, order, cluster):
        order = order.model_copy(update={"batch": GPU_BATCH})
    return order


def survey(spec: RunSpec) -> ExtractReceipt:
    """What is extracted so far, without extracting. Raises StoreError where nothing is."""
    started = time.monotonic()
    store = FeatureStore.open(Location.of(spec.store))
    features = FeatureSet.open(store.feature_set_location(spec.dataset_name, resolve(spec)))
    after = _account(features, store.dataset(spec.dataset_name).manifest)
    return _receipt(features, after, [], None, stored(features), time.monotonic() - started)


def layout_for(
    location: Location, spec: RunSpec, spans: Sequence[tuple[int, int]], backbone: Compiled, cluster: Cluster
) -> ArrayLayout:
    """How the features lie, or will lie; nothing is created."""
    if (location / "layout.json").exists():
        there = FeatureSet.open(location).layout
        there.refuse_another(spec.storage, location)
        return there
    rows, storage = spec.storage.rows_per_shard, spec.storage
    if rows is None:
        seconds = backbone.multiply_accumulates / MULTIPLY_ACCUMULATES_PER_SECOND
        images = sum(stop - start for start, stop in spans)
        rows = rows_per_shard(images, np.dtype(storage.dtype).itemsize * max(backbone.dims.values()), seconds, cluster.workers)
    maps = {layer: shape for layer, shape in backbone.shapes.items() if len(shape) > 1}
    return ArrayLayout(storage.format, rows, backbone.dims, storage.dtype, storage.compression or "", maps)


def _receipt(
    features: FeatureSet,
    after: Account,
    fresh: Sequence[ShardReceipt],
    engine: Engine | None,
    effects: Sequence[Effect],
    seconds: float,
) -> ExtractReceipt:
    extracted = sum(each.statuses.get(Status.OK, 0) + each.statuses.get(Status.QUARANTINED, 0) for each in fresh)
    speed = None
    if extracted:
        span = max(each.timings.committed for each in fresh) - min(each.timings.first_read for each in fresh)
        speed = extracted / span if span > 0 else None  # a clock that went back tells nothing
    return ExtractReceipt(
        feature_set=features.location.uri,
        recipe=features.recipe.digest(),
        counts=after.counts,
        reasons=after.reasons,
        extracted=extracted,
        reused=after.counts.ok + after.counts.quarantined - extracted,
        shards_done=len(features.commits.done()),
        images_per_second=speed,
        dims=features.layout.dims,
        dtype=features.layout.dtype,
        engine=engine,
        effects=effects,
        seconds=seconds,
    )


def _account(features: FeatureSet, manifest: Manifest) -> Account:
    commits = features.commits
    return account(manifest, commits.each(commits.done(), ("row", "status", "reason")))


def _is_for_gpus(spec: RunSpec, order: Order, cluster: Cluster) -> bool:
    return cluster.on_gpus and spec.runtime != "openvino" and spec.precision != "bf16" and not order.network.onnx


def refuse_private_storage(root: Location, cluster: Cluster) -> None:
    """Raises StoreError for memory:// with several processes."""
    if root.scheme == "memory" and cluster.kind != "inline":
        raise StoreError(
            "memory:// lives in one process, and workers are others: they would write into stores nobody reads. Use --cluster inline."
        )
