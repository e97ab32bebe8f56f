"""A small real extraction into a scratch store: the sample's own images, on the cluster that a run would use, timed and weighed."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from trunkline import drafts, images, runtimes
from trunkline.backbones.compiled import Compiled
from trunkline.blocks import Status
from trunkline.clusters import Cluster
from trunkline.engine import Engine, chosen
from trunkline.errors import UnreadableImage
from trunkline.estimate import MAX_SECONDS, Arrival, Pace, is_enough, pace, seconds_an_image
from trunkline.extraction import ExtractionJob, ShardReceipt, extract_shard
from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE, DaskExecutor, Executor
from trunkline.locations import Location
from trunkline.machine import peak_memory, resident_memory
from trunkline.progress import Progress, Step
from trunkline.shards import MIN_ROWS, Shard, plan
from trunkline.sources import Listed, Source
from trunkline.specs import Recipe, RunSpec
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.store.layout import ArrayLayout
from trunkline.store.lease import hold

FASTEST = 200e9  # multiply-accumulates a second of a core that no network reaches; only bounds the scratch manifest
TYPICAL = 50e9
SHARD_SECONDS = 0.5
MOST_ROWS, MOST_BYTES = 2**16, 512 * 2**20
LEAST_ROWS = 4


@dataclass(frozen=True)
class Read:
    """How the sample's first reads went: images a second over all streams; largest bytes of one file with its decoded pixels."""

    images_per_second: float
    largest: int
    evicted: bool


@dataclass(frozen=True)
class Trial:
    """What was measured.

    Parameters
    ----------
    pace, engine, slots : how fast, how workers used their machine, and how many shards at once.
    parts : seconds an image of reading, decoding, forward pass and writing, summed over threads.
    read : of the first reads, before anything was in the cache because of this.
    row_bytes : of a row in the arrays after compression, None where no image could be read.
    shard_bytes, record_bytes : of the moments a shard, of the commit record a row.
    loaded, peak : most bytes of memory of a worker with the backbone loaded, and at its worst moment; None where not known.
    images, bad : different images tried, and those that could not be read, by reason.
    """

    pace: Pace
    engine: Engine
    slots: int
    parts: Mapping[str, float]
    read: Read
    row_bytes: float | None
    shard_bytes: float
    record_bytes: float
    loaded: int | None
    peak: int | None
    images: int
    bad: Mapping[str, int]


def tried(
    scratch: Location,
    source: Source,
    sample: Sequence[Listed],
    recipe: Recipe,
    layout: ArrayLayout,
    backbone: Compiled,
    runtime: str,
    spec: RunSpec,
    cluster: Cluster,
    rows: int,
    evict: bool,
    progress: Progress,
) -> Trial:
    """Extract the sample over and over until the pace is stable, or `rows` were done, or 15 s have passed.

    Parameters
    ----------
    scratch : an empty folder of this machine.
    evict : drop the sample's files from the system's cache before they are first read.

    Raises
    ------
    StorageUnreachable : the source does not answer.
    """
    asked = time.monotonic()
    progress(Step("plan", 0, None, "starting workers"))
    executor = cluster.executor
    started = time.monotonic() - asked
    engine = chosen(
        spec.engine,
        backbone,
        runtime=runtime,
        workers=executor.workers,
        threads=executor.threads,
        local_source=source.is_local,
    )
    read = _first_reads(source, sample, engine, recipe, evict)
    asked = time.monotonic() - started  # reading the sample is no part of starting
    loaded = _on_each_worker(executor, _load, backbone, engine)
    slots = executor.workers * SHARDS_PER_WORKER_AT_ONCE if isinstance(executor, DaskExecutor) else 1
    store = FeatureStore.create(scratch / "store")
    dataset, shards = _dataset(store, source, sample, backbone, layout, engine, slots, rows)
    tiny = replace(layout, rows_per_shard=shards[0].rows)
    features = FeatureSet.create(store.feature_set_location(dataset.name, recipe), recipe, tiny)
    arrivals: list[Arrival] = []
    receipts: list[ShardReceipt] = []
    with hold(features.leases) as lease:
        features.arrays.grow(shards[-1].stop)
        job = ExtractionJob(dataset.location, features.location, backbone, engine, lease)
        wanted = _until(shards, lambda: is_enough(arrivals, slots, rows))
        for receipt in executor.map(extract_shard, job, wanted):
            arrivals.append(Arrival(time.monotonic() - asked, receipt.shard.rows))
            receipts.append(receipt)
            progress(Step("plan", sum(each.rows for each in arrivals), None, "measuring a sample"))
    steady = receipts[slots:] or receipts
    done = sum(each.shard.rows for each in receipts)
    return Trial(
        pace=pace(_steady(arrivals, slots, rows), slots),
        engine=engine,
        slots=slots,
        parts=seconds_an_image([each.timings for each in steady], sum(each.shard.rows for each in steady)),
        read=read,
        row_bytes=_compressed_row(scratch, features, recipe, layout, len(sample)),
        shard_bytes=features.moments.size() / len(receipts),
        record_bytes=features.commits.folder.size() / done,
        loaded=_most(loaded),
        peak=_most(_on_each_worker(executor, peak_memory)),
        images=len(sample),
        bad=_bad(features, shards, len(sample)),
    )


def _first_reads(source: Source, sample: Sequence[Listed], engine: Engine, recipe: Recipe, evict: bool) -> Read:
    """With as many threads as all workers read with. Images that cannot be read are left to the extraction, which counts them."""
    if evict:
        for image in sample:
            _evict(source, image)

    def read(image: Listed) -> bytes:
        with contextlib.suppress(UnreadableImage):
            return source.read(image.id, image.version, image.place)
        return b""

    started = time.monotonic()
    with ThreadPoolExecutor(engine.workers * engine.readers) as readers:
        contents = list(readers.map(read, sample))
    seconds = max(time.monotonic() - started, 1e-9)
    largest = max(len(content) + images.decoded_bytes(content, recipe) for content in contents)
    return Read(len(sample) / seconds, largest, evict)


def _evict(source: Source, image: Listed) -> None:
    """Drop a file from the system's cache, where there is one."""
    path = Location.of(source.uri_of(image.id, image.place).split("?")[0])
    if not path.is_local:
        return
    with contextlib.suppress(OSError):
        file = os.open(path.path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def _load(backbone: Compiled, engine: Engine) -> int | None:
    """Load the backbone as a worker's first shard does; the memory of the process then."""
    runtimes.load(engine.runtime, backbone, engine.threads)
    return resident_memory()


def _dataset(
    store: FeatureStore,
    source: Source,
    sample: Sequence[Listed],
    backbone: Compiled,
    layout: ArrayLayout,
    engine: Engine,
    slots: int,
    to_do: int,
) -> tuple[Dataset, list[Shard]]:
    """The sample again and again, each time in another order but the first, all of it training rows; and its shards."""
    rows = _rows_per_shard(backbone, engine, layout.rows_per_shard, to_do // (2 * slots))
    fastest = MAX_SECONDS * engine.workers * engine.threads * FASTEST / max(backbone.multiply_accumulates, 1)
    most = max(4, MOST_BYTES // (rows * 4 * sum(layout.dims.values())))
    count = max(3 * slots, min(int(fastest / rows), MOST_ROWS // rows, most))
    mixed = random.Random(0)
    listed = list(sample)
    while len(listed) < count * rows:
        listed += mixed.sample(sample, len(sample))
    dataset = store.dataset("sample")
    dataset.bind(source)
    manifest = drafts.append(dataset.manifest, listed[: count * rows], np.empty(0, np.int64))
    dataset.splits.append(np.arange(manifest.rows), pa.repeat("train", manifest.rows))
    return dataset, list(plan(manifest.spans, rows))


def _rows_per_shard(backbone: Compiled, engine: Engine, real: int, most: int) -> int:
    """A power of two: as small as real shards get, fewer rows of slow networks and of few images, but whole batches."""
    seconds = max(backbone.multiply_accumulates / TYPICAL, 1e-6)
    rows = max(LEAST_ROWS, int(min(MIN_ROWS, SHARD_SECONDS / seconds, most)))
    batch = min(engine.batch, real)
    return max(1 << (rows.bit_length() - 1), 1 << (batch - 1).bit_length())


def _until(shards: Sequence[Shard], enough: Callable[[], bool]) -> Iterator[Shard]:
    """Shards until it is enough; those in flight are finished, so that nobody writes when the scratch folder is removed."""
    for shard in shards:
        if enough():
            return
        yield shard


def _steady(arrivals: Sequence[Arrival], slots: int, rows: int) -> Sequence[Arrival]:
    """Those until it was enough: at the end, workers run out of shards and share the machine otherwise."""
    for count in range(2 * slots, len(arrivals) + 1, slots):
        if is_enough(arrivals[:count], slots, rows):
            return arrivals[:count]
    return arrivals


def _compressed_row(scratch: Location, trial: FeatureSet, recipe: Recipe, layout: ArrayLayout, count: int) -> float | None:
    """Bytes a row in the arrays of the real layout, from features of different images; None where none could be read."""
    found = {layer: trial.arrays.read(layer, 0, count) for layer in layout.dims}
    kept = np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in found.values()])
    rows = min(int(kept.sum()), layout.rows_per_shard)
    if not rows:
        return None
    place = FeatureStore.create(scratch / "compressed").feature_set_location("sample", recipe)
    weighed = FeatureSet.create(place, recipe, layout)
    weighed.arrays.grow(rows)
    before = place.size()
    weighed.arrays.write(Shard(0, rows), {layer: values[kept][:rows] for layer, values in found.items()})
    return (place.size() - before) / rows


def _bad(trial: FeatureSet, shards: Sequence[Shard], count: int) -> Mapping[str, int]:
    """Why images of the sample could not be read, from the records of the first pass over it."""
    reasons: Counter[str] = Counter()
    done = trial.commits.done()
    for shard in shards:
        if shard.start < count and shard.name in done:
            table = trial.commits.read(shard.name).table.slice(0, count - shard.start)
            reasons.update(r["reason"] for r in table.to_pylist() if r["status"] == Status.QUARANTINED)
    return dict(reasons)


def _on_each_worker(executor: Executor, function: Callable[..., int | None], *given: object) -> list[int | None]:
    if isinstance(executor, DaskExecutor):
        return list(executor.client.run(function, *given).values())
    return [function(*given)]


def _most(found: Sequence[int | None]) -> int | None:
    return max((each for each in found if each is not None), default=None)
