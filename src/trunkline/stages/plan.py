"""Plan: what a run would do and cost, from the listing and a measured sample. The store is read, never written."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trunkline.backbones.compilation import Order
from trunkline.backbones.compiled import Compiled, committed_backbone, compiled
from trunkline.cluster import Cluster
from trunkline.errors import SourceError, StoreError
from trunkline.estimate import bottleneck, extraction_seconds
from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE
from trunkline.locations import Location
from trunkline.machine import available_memory
from trunkline.manifest import Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.projection import Projection, WorkerMemory
from trunkline.shards import BLOCK, MIN_ROWS, Shard, remaining
from trunkline.shards import plan as shards_of
from trunkline.sources import FolderSource, Listed
from trunkline.specs import RunSpec
from trunkline.stages.extract import (
    layout_for,
    order_for,
    refuse_private_storage,
    refuse_what_does_not_fit,
    runtime_for,
)
from trunkline.stages.trial import Trial, tried
from trunkline.store.arrays import open_arrays
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.store.layout import ArrayLayout
from trunkline.wording import in_bytes, in_time

SAMPLE = 64
LISTED_PER_STEP = 1000
OBJECTS_BESIDE = 2  # a shard's moments and its commit record


@dataclass(frozen=True)
class Images:
    """As a scan now would find them; `pending` are unchanged and not extracted; `to_do` of `bytes` in all are to be read."""

    new: int
    changed: int
    removed: int
    unchanged: int
    pending: int
    to_do: int
    bytes: int


@dataclass(frozen=True)
class Output:
    """What would be written: bytes before compression, and all objects of it after, None where that was not measured."""

    rows: int
    features: int
    format: str
    rows_per_shard: int
    shards: int
    objects: int
    bytes: int
    stored_bytes: int | None
    ratio: float | None


@dataclass(frozen=True)
class Duration:
    """Seconds: listing, compiling the backbone, starting workers, extracting; and images a second while it extracts."""

    seconds: float
    scan: float
    compile: float
    start: float
    extract: float
    images_per_second: float
    bottleneck: str
    parts: Mapping[str, float]


@dataclass(frozen=True)
class Memory:
    """Bytes: of a worker as estimated from its parts, as measured on the sample, of all workers, and what the machine has available."""

    worker: int
    parts: Mapping[str, int]
    measured: int | None
    workers: int
    all_workers: int
    available: int | None


@dataclass(frozen=True)
class Plan:
    """What a run would cost. `output`, `time` and `memory` are None where there is nothing to do, or where they could not be measured.

    `engine` is how workers would use their machine; `sampled` images were measured, `bad` of them unreadable, by reason; `notes` say
    what was assumed, and what a run would stumble over.
    """

    source: str
    store: str
    dataset: str
    images: Images
    output: Output | None
    time: Duration | None
    memory: Memory | None
    free: int | None
    engine: Mapping[str, Any] | None
    sampled: int
    bad: Mapping[str, int]
    notes: Sequence[str]

    @property
    def headline(self) -> str:
        """The plan in one sentence."""
        if not self.images.to_do:
            return f"Nothing to do: all {self.images.unchanged:,} images are extracted."
        to_do = f"{self.images.to_do:,} images to do"
        size = ""
        if self.output:
            size = f"{in_bytes(self.output.stored_bytes or self.output.bytes)} into {self.store}"
        if not self.time or not self.engine:
            return f"{to_do}: {size}; how long it takes was not measured."
        workers = self.engine["workers"]
        return f"{to_do}: about {in_time(self.time.seconds)} on {workers} worker{'s' * (workers != 1)}, {size}."

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"plan": self.headline, **asdict(self)}


@dataclass(frozen=True)
class _Preview:
    """What a scan now would find, and which rows would be pending after it."""

    source: FolderSource
    images: Images
    spans: Sequence[tuple[int, int]]
    missing: Sequence[Shard]
    sample: Sequence[Listed]
    notes: Sequence[str]
    seconds: float


def plan(spec: RunSpec, cluster: Cluster, sample: int = SAMPLE, progress: Progress = silent) -> Plan:
    """What a run of this spec would cost, without writing anything into its store.

    Parameters
    ----------
    sample : images that are extracted, over and over, into a temporary folder of this machine, to see how long they take.

    Raises
    ------
    BackboneError, SourceError, StoreError, DataError, SpecError : what a run would refuse before its first image.
    """
    root = Location.of(spec.store)
    order = order_for(spec, cluster)
    refuse_private_storage(root, cluster)
    store = FeatureStore.existing(root) or FeatureStore(root)
    location = store.feature_set_location(spec.dataset_name, order.recipe)
    open_arrays(location, ArrayLayout(spec.storage.format, MIN_ROWS, {}))  # refuses a format that cannot lie there
    before = FeatureSet.open(location) if (location / "layout.json").exists() else None
    preview = _preview(spec, store.dataset(spec.dataset_name), before, sample, progress)
    if not preview.images.to_do:
        return _nothing(spec, root, preview)
    with tempfile.TemporaryDirectory(prefix="trunkline-plan-", ignore_cleanup_errors=True) as folder:
        scratch = Location.of(folder)
        progress(Step("plan", 0, None, "preparing the backbone"))
        backbone, compiling = _backbone(root, scratch, order)
        layout = layout_for(location, spec, preview.spans, backbone, cluster)
        _refuse_another_format(before, spec, location)
        missing = preview.missing or remaining(shards_of(preview.spans, layout.rows_per_shard), ())
        refuse_what_does_not_fit(spec, cluster, backbone, layout, missing, root)
        projection = Projection.of(layout, sum(shard.rows for shard in missing), root)
        available = available_memory()
        trial = None
        if cluster.kind != "address":
            runtime = runtime_for(spec.runtime, backbone, cluster)
            evict = preview.source.root.is_local and available is not None and preview.images.bytes > available
            rows = preview.images.to_do
            trial = tried(
                scratch,
                preview.source,
                preview.sample,
                order.recipe,
                layout,
                backbone,
                runtime,
                spec,
                cluster,
                rows,
                evict,
                progress,
            )
    output = _output(projection, layout, len(missing), trial)
    return Plan(
        source=preview.source.root.uri,
        store=root.uri,
        dataset=spec.dataset_name,
        images=preview.images,
        output=output,
        time=_duration(preview, compiling, len(missing), trial) if trial else None,
        memory=_memory(layout, backbone, cluster, trial, available) if trial else None,
        free=projection.free,
        engine=asdict(trial.engine) if trial else None,
        sampled=trial.images if trial else 0,
        bad=trial.bad if trial else {},
        notes=[*preview.notes, *_notes(spec, preview, projection, output, trial)],
    )


def _preview(spec: RunSpec, dataset: Dataset, before: FeatureSet | None, sample: int, progress: Progress) -> _Preview:
    """List the source, compare it with the manifest and the commit records, and draw images to do at random."""
    started = time.monotonic()
    source = FolderSource(Location.of(spec.source))
    dataset.refuse_another(source)
    manifest = dataset.manifest
    listing: list[Listed] = []
    for image in source.listing():
        listing.append(image)
        if len(listing) % LISTED_PER_STEP == 0:
            progress(Step("plan", len(listing), None, "listing"))
    if not listing:
        raise SourceError(f"The source {source.root} holds no images, so there is nothing to plan. Check the path.")
    source.layout((image.id for image in listing), spec.labels)  # refuses folders that a scan refuses
    difference = manifest.compare(listing)
    spans = list(manifest.spans)
    if difference.added:
        start = -(-manifest.rows // BLOCK) * BLOCK
        spans.append((start, start + len(difference.added)))
    missing = remaining(shards_of(spans, before.layout.rows_per_shard), before.commits.done()) if before else []
    pending = _pending(manifest, missing if before else None, difference.removed)
    to_do = [*difference.added, *pending]
    gone = len(difference.removed) - difference.changed
    live = difference.unchanged + len(difference.removed)
    images = Images(
        new=len(difference.added) - difference.changed,
        changed=difference.changed,
        removed=gone,
        unchanged=difference.unchanged,
        pending=len(pending),
        to_do=len(to_do),
        bytes=sum(image.size for image in to_do),
    )
    notes = []
    if gone > spec.max_removed_fraction * live:
        notes.append(
            f"A run would stop: {gone:,} of {live:,} images are gone, more than {spec.max_removed_fraction:.0%}; --max-removed 1 allows it."
        )
    drawn = random.sample(to_do, min(sample, len(to_do)))
    return _Preview(source, images, spans, missing, drawn, notes, time.monotonic() - started)


def _pending(manifest: Manifest, missing: Sequence[Shard] | None, removed: Sequence[int]) -> list[Listed]:
    """Images of live rows without a commit record; of all live rows where there is no feature set yet (`missing` None)."""
    table = manifest.images()
    rows = table["row"].to_numpy()
    wanted = ~np.asarray(table["removed"].to_numpy(zero_copy_only=False), bool) & ~np.isin(rows, np.asarray(removed, np.int64))
    if missing is not None:
        starts = np.array([shard.start for shard in missing], np.int64)
        stops = np.array([shard.stop for shard in missing], np.int64)
        within = np.searchsorted(starts, rows, "right") - 1
        wanted &= (within >= 0) & (rows < stops[within]) if len(starts) else False
    chosen = table.filter(wanted).to_pylist()
    return [Listed(row["id"], row["size"], row["version"]) for row in chosen]


def _backbone(root: Location, scratch: Location, order: Order) -> tuple[Compiled, float]:
    """From the store, else compiled into the scratch folder; and the seconds that compiling took."""
    try:
        there = committed_backbone(root, order.recipe, None if order.batch is None else str(order.batch))
        if order.batch in (None, there.batch):
            return there, 0.0
    except StoreError:
        pass
    started = time.monotonic()
    made = compiled(scratch / "backbone", order)
    return made, time.monotonic() - started


def _refuse_another_format(before: FeatureSet | None, spec: RunSpec, location: Location) -> None:
    if before and before.layout.format != spec.storage.format:
        raise StoreError(
            f"{location} is stored as {before.layout.format}; the format is fixed when a feature set is created. "
            f"Use --format {before.layout.format}, or another --store for {spec.storage.format}."
        )


def _nothing(spec: RunSpec, root: Location, preview: _Preview) -> Plan:
    time_ = Duration(preview.seconds, preview.seconds, 0.0, 0.0, 0.0, 0.0, "scan", {})
    source = preview.source.root.uri
    return Plan(
        source, root.uri, spec.dataset_name, preview.images, None, time_, None, root.free(), None, 0, {}, list(preview.notes)
    )


def _output(projection: Projection, layout: ArrayLayout, shards: int, trial: Trial | None) -> Output:
    stored = ratio = None
    if trial and trial.row_bytes is not None:
        ratio = trial.row_bytes / projection.row_bytes
        stored = round(projection.rows * (trial.row_bytes + trial.record_bytes) + shards * trial.shard_bytes)
    arrays = len(layout.dims) if layout.format == "zarr" else 1
    return Output(
        rows=projection.rows,
        features=projection.features,
        format=layout.format,
        rows_per_shard=layout.rows_per_shard,
        shards=shards,
        objects=shards * (arrays + OBJECTS_BESIDE),
        bytes=projection.bytes,
        stored_bytes=stored,
        ratio=ratio,
    )


def _duration(preview: _Preview, compiling: float, shards: int, trial: Trial) -> Duration:
    engine = trial.engine
    speed = min(trial.pace.images_per_second, trial.read.images_per_second)
    extracting = extraction_seconds(preview.images.to_do, shards, engine.workers, speed)
    streams = {
        "read": engine.workers * engine.readers,
        "decode": engine.workers * min(engine.readers, engine.threads),
        "forward": engine.workers,
        "write": trial.slots,
    }
    slowest = "read" if trial.read.images_per_second < trial.pace.images_per_second else bottleneck(trial.parts, streams)
    return Duration(
        seconds=preview.seconds + compiling + trial.pace.starting + extracting,
        scan=preview.seconds,
        compile=compiling,
        start=trial.pace.starting,
        extract=extracting,
        images_per_second=preview.images.to_do / extracting,
        bottleneck=slowest,
        parts=trial.parts,
    )


def _memory(layout: ArrayLayout, backbone: Compiled, cluster: Cluster, trial: Trial, available: int | None) -> Memory:
    """The estimate from its parts against what was available before. Raises DataError where all workers need more."""
    engine = trial.engine
    worker = WorkerMemory.of(
        layout,
        backbone,
        at_once=1 if cluster.kind == "inline" else SHARDS_PER_WORKER_AT_ONCE,
        process=trial.loaded,
        ahead=engine.images_ahead,
        decoding=max(trial.read.largest, min(engine.in_flight_bytes, engine.readers * trial.read.largest)),
    )
    worker.refuse_what_does_not_fit(engine.workers, available)
    return Memory(
        worker=worker.bytes,
        parts=asdict(worker),
        measured=trial.peak,
        workers=engine.workers,
        all_workers=engine.workers * worker.bytes,
        available=available,
    )


def _notes(spec: RunSpec, preview: _Preview, projection: Projection, output: Output, trial: Trial | None) -> list[str]:
    """What was assumed, and what would be stumbled over."""
    if trial is None:
        return [
            "Workers at an address cannot see this machine's temporary folder, so nothing was measured: no time, memory or compression."
        ]
    found = [
        f"Measured {trial.pace.rows:,} extractions of {trial.images} random images in {in_time(trial.pace.seconds)} at a steady pace."
    ]
    if trial.read.evicted:
        found.append(
            "The images are more than memory holds: the sample was dropped from the system's cache and read from the disk."
        )
    elif preview.source.root.is_local:
        found.append("The sample was read first as it lay, on the disk or in the system's cache, and then from the cache.")
    else:
        found.append(
            f"Every pass read its images from {preview.source.root.scheme}:// anew; caches on the way there may have helped."
        )
    if not projection.location.is_local:
        found.append(f"Writing was measured on this machine's temporary folder, not on {projection.location.scheme}://.")
    stored = output.stored_bytes or output.bytes
    if projection.free is not None and stored > projection.free:
        found.append(
            f"The features would take {in_bytes(stored)}, more than the {in_bytes(projection.free)} that are free: it would fail."
        )
    if sum(trial.bad.values()) > spec.max_bad_fraction * trial.images:
        found.append(
            f"{sum(trial.bad.values())} of {trial.images} images of the sample cannot be read: a run might stop (--max-bad)."
        )
    found.append("Fitting the filter and the heads comes on top.")
    return found
