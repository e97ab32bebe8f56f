"""Extract: manifest → features. Plans what is missing, fans it out, counts every row."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline import runtimes
from trunkline.accounting import Account, RowCounts, account, refuse_strange
from trunkline.backbones.compilation import Order
from trunkline.backbones.compiled import Compiled, compiled
from trunkline.backbones.resolution import order_of, resolve
from trunkline.blocks import Status
from trunkline.clusters import Cluster
from trunkline.clusters.admission import admitted
from trunkline.clusters.surroundings import SCRATCH_BYTES, Needs
from trunkline.engine import GPU_BATCH, Engine, chosen
from trunkline.errors import DataError, StoreError, TooManyBadImages
from trunkline.extraction import ExtractionJob, ShardReceipt, extract_shard
from trunkline.locations import Location, storage_errors_in_words
from trunkline.manifest import Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.projection import Projection, WorkerMemory
from trunkline.reader import Features
from trunkline.shards import Shard, plan, remaining, rows_per_shard
from trunkline.specs import EngineSpec, RunSpec
from trunkline.stages.effects import Effect, measured, stored
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.store.layout import ArrayLayout
from trunkline.store.lease import Lease, hold

MULTIPLY_ACCUMULATES_PER_SECOND = 50e9  # of one CPU core, float32; only sizes shards
MIN_ROWS_FOR_BAD_FRACTION = 100


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
        raise _nothing_readable(after)
    _stop_if_too_bad(after, spec.max_bad_fraction)
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


def bring_up_to_date(
    features: FeatureSet,
    dataset: Dataset,
    backbone: Compiled,
    cluster: Cluster,
    how: EngineSpec,
    runtime: str = "auto",
    max_bad_fraction: float = 1.0,
    progress: Progress = silent,
) -> tuple[list[ShardReceipt], Engine | None]:
    """Extract the shards without a commit record, under the lease; their receipts, and the engine where there were any.

    Raises
    ------
    LeaseHeld : another run writes this feature set.
    TooManyBadImages : more than `max_bad_fraction` of at least 100 rows; what was committed stays.
    """
    manifest = dataset.manifest
    shards = list(plan(manifest.spans, features.layout.rows_per_shard))
    done = features.commits.done()
    committed = [shard for shard in shards if shard.name in done]
    if len(committed) == len(shards) and features.arrays.is_sealed(committed):
        return [], None
    fresh: list[ShardReceipt] = []
    engine: Engine | None = None
    with hold(features.leases, waiting=lambda held: progress(Step("extract", 0, None, _waiting(held)))) as lease:
        with storage_errors_in_words(features.location):
            features.arrays.grow(manifest.rows)
        todo = remaining(shards, features.commits.done())
        features.commits.unseal([shard.name for shard in todo])
        if todo:
            projection = Projection.of(features.layout, sum(shard.rows for shard in todo), features.location)
            progress(Step("extract", 0, None, f"{projection}; starting workers"))
            engine = chosen(
                how,
                backbone,
                runtime=runtime_for(runtime, backbone, cluster),
                workers=cluster.executor.workers,
                threads=cluster.executor.threads,
                local_source=dataset.source.is_local,
            )
            job = ExtractionJob(dataset.location, features.location, backbone, engine, lease)
            progress(Step("extract", 0, None, "looking at the workers"))
            with admitted(cluster.executor, _needs(job, dataset, cluster)):
                fresh = _run(job, todo, cluster, max_bad_fraction, progress)
        done = features.commits.done()
        features.arrays.seal([shard for shard in shards if shard.name in done])
        features.commits.seal(lambda commit: refuse_strange(commit, manifest))
    return fresh, engine


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


def _needs(job: ExtractionJob, dataset: Dataset, cluster: Cluster) -> Needs:
    """What a worker must have before its first shard."""
    return Needs(
        runtime=job.engine.runtime,
        features=job.feature_set,
        lease=job.lease,
        backbone=job.backbone,
        dataset=dataset.location if dataset.source.is_local else None,
        gpu=cluster.on_gpus and job.engine.runtime == "tensorflow",
        scratch=SCRATCH_BYTES,
    )


def _run(job: ExtractionJob, shards: Sequence[Shard], cluster: Cluster, most: float, progress: Progress) -> list[ShardReceipt]:
    """Receipts of the shards this run computed. It stops early for its own bad images; all of them are judged at the end."""
    fresh: list[ShardReceipt] = []
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    total, done = sum(shard.rows for shard in shards), 0
    progress(Step("extract", 0, total))
    for each in cluster.executor.map(extract_shard, job, shards):
        if each.reused:
            continue
        fresh.append(each)
        statuses.update(each.statuses)
        reasons.update(each.reasons)
        bad = f"{statuses[Status.QUARANTINED]} quarantined" if statuses[Status.QUARANTINED] else ""
        done += each.shard.rows
        progress(Step("extract", done, total, bad))
        now = RowCounts(statuses[Status.OK], statuses[Status.QUARANTINED], 0)
        _stop_if_too_bad(Account(now, reasons), most)
    return fresh


def _stop_if_too_bad(so_far: Account, most: float) -> None:
    bad, seen = so_far.counts.quarantined, so_far.counts.ok + so_far.counts.quarantined
    if seen >= MIN_ROWS_FOR_BAD_FRACTION and bad > most * seen:
        if bad == seen:
            raise _nothing_readable(so_far)
        raise TooManyBadImages(
            f"{bad} of {seen} images could not be read ({_in_words(so_far.reasons)}), more than the allowed {most:.0%}. What was extracted "
            "is kept. `trunkline quarantine STORE` lists them; repair the source, or allow more with --max-bad and start again."
        )


def _nothing_readable(so_far: Account) -> DataError:
    return DataError(
        f"Not one of {so_far.counts.quarantined} images could be read ({_in_words(so_far.reasons)}). Is the source a folder of images? "
        "`trunkline quarantine STORE` lists them."
    )


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


def runtime_for(asked: str, backbone: Compiled, cluster: Cluster) -> str:
    """`auto` resolved: tensorflow where GPUs or half precision ask for it, else openvino."""
    if asked != "auto":
        return asked
    if backbone.precision == "mixed_float16":
        return "tensorflow"
    return "tensorflow" if cluster.on_gpus and backbone.precision == "f32" and backbone.runs_on_tensorflow else "openvino"


def refuse_private_storage(root: Location, cluster: Cluster) -> None:
    """Raises StoreError for memory:// with several processes."""
    if root.scheme == "memory" and cluster.kind != "inline":
        raise StoreError(
            "memory:// lives in one process, and workers are others: they would write into stores nobody reads. Use --cluster inline."
        )


def _in_words(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(reasons).most_common())


def _waiting(held: Lease) -> str:
    return f"waiting for lease {held.number} of process {held.pid} on {held.host}"
