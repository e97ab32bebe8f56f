"""Costs: what a preview and a trial together say of output, time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from trunkline.backbones.compiled import Compiled
from trunkline.clusters import Cluster
from trunkline.estimate import bottleneck, extraction_seconds
from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE
from trunkline.projection import Projection, WorkerMemory
from trunkline.specs import RunSpec
from trunkline.stages.preview import Preview
from trunkline.stages.trial import Trial
from trunkline.store.layout import ArrayLayout
from trunkline.wording import in_bytes, in_time

OBJECTS_BESIDE = 2  # a shard's moments and its commit record


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


def output_of(projection: Projection, layout: ArrayLayout, shards: int, trial: Trial | None) -> Output:
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


def duration_of(preview: Preview, compiling: float, shards: int, trial: Trial) -> Duration:
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


def memory_of(layout: ArrayLayout, backbone: Compiled, cluster: Cluster, trial: Trial, available: int | None) -> Memory:
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


def notes_on(spec: RunSpec, preview: Preview, projection: Projection, output: Output, trial: Trial | None) -> list[str]:
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
