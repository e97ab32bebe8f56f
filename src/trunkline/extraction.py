"""One shard: read, decode, batch, run, write, commit. A pure function of (job, shard) that any process can run, and run again."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline import calls, environment, images, moments, runtimes
from trunkline.backbones.compiled import Compiled
from trunkline.blocks import FeatureBlock, RowRecord, Status, Timings, feature_digest, rows_digest
from trunkline.engine import Budget, Engine
from trunkline.errors import CorruptStore, StorageUnreachable, UnreadableImage
from trunkline.locations import Location, storage_errors_in_words
from trunkline.manifest import Manifest
from trunkline.moments import Moments
from trunkline.predecessors import Predecessors
from trunkline.shards import Shard
from trunkline.sources import Source
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset
from trunkline.store.layout import cast
from trunkline.store.lease import Lease

LEASE_CHECK_SECONDS = 2.0


@dataclass(frozen=True)
class ExtractionJob:
    """What every shard of a run has in common; small, and sent to workers instead of paths or arrays."""

    dataset: Location
    feature_set: Location
    backbone: Compiled
    engine: Engine
    lease: Lease


@dataclass(frozen=True)
class ShardReceipt:
    """What became of a shard: rows by status, quarantined ones by reason; `reused` where it was committed before."""

    shard: Shard
    statuses: Mapping[str, int]
    reasons: Mapping[str, int]
    timings: Timings
    reused: bool


def extract_shard(job: ExtractionJob, shard: Shard) -> ShardReceipt:
    """Make a shard's features and commit them; a shard that is committed already is left as it is.

    Raises
    ------
    LeaseLost : the run has ended or was taken over; nothing was committed.
    StorageError : the store refuses to be written.
    CorruptStore : another process committed this shard meanwhile, with other features.
    """
    worker = _worker_of(job)
    if worker.features.commits.has(shard.name):
        return receipt(worker.features.commits.read(shard.name), reused=True)
    worker.check_lease(at_most_every=0.0)
    rows = worker.manifest.read(shard)
    block = worker.compute(shard, rows)
    worker.check_lease(at_most_every=0.0)
    commit = worker.store(block, rows_digest(rows))
    worker.check_lease(at_most_every=0.0)  # who was stopped while it wrote must not commit after a takeover
    if worker.features.commits.create(commit):
        return receipt(commit, reused=False)
    _refuse_other_features(worker.features, commit)
    return receipt(commit, reused=True)


def _refuse_other_features(features: FeatureSet, mine: Commit) -> None:
    """A shard that was committed meanwhile has the same features, unless images changed between the two."""
    if not mine.table["feature"].equals(features.commits.read(mine.shard.name).table["feature"]):
        raise CorruptStore(
            f"The shard {mine.shard.name} of {features.location} was committed by another process while its images changed, so its "
            "features and its record may differ. `trunkline verify --repair` makes it anew."
        )


def receipt(commit: Commit, *, reused: bool) -> ShardReceipt:
    """The counts of a commit record."""
    statuses = Counter(commit.table["status"].to_pylist())
    reasons = Counter(reason for reason in commit.table["reason"].to_pylist() if reason)
    return ShardReceipt(commit.shard, dict(statuses), dict(reasons), commit.timings, reused)


@dataclass(frozen=True)
class _Image:
    """One row on its way: pixels, or features that are known already, or why there are none."""

    record: RowRecord
    pixels: NDArray[Any] | None
    read_seconds: float
    decode_seconds: float
    features: Mapping[str, NDArray[np.float32]] | None = None


class _Batch:
    """Pixels of readable images, and which rows of the shard they are; its shape never changes."""

    def __init__(self, backbone: Compiled) -> None:
        self._pixels = np.zeros((backbone.batch, backbone.size, backbone.size, 3), backbone.pixels)
        self.numbers: list[int] = []

    @property
    def is_full(self) -> bool:
        return len(self.numbers) == len(self._pixels)

    def add(self, number: int, pixels: NDArray[Any]) -> None:
        self._pixels[len(self.numbers)] = pixels
        self.numbers.append(number)

    def padded(self) -> NDArray[Any]:
        self._pixels[len(self.numbers) :] = 0
        return self._pixels


class _Worker:
    """What a process keeps between the shards of a job: open store, loaded backbone, reading threads."""

    def __init__(self, job: ExtractionJob) -> None:
        self.job = job
        self.features = FeatureSet.open(job.feature_set)
        self.dataset = Dataset(job.dataset)
        self.manifest = Manifest.open(job.dataset / "manifest")
        self.source: Source = self.dataset.source
        self.splits = self.dataset.splits.values(self.manifest.rows)
        self.predecessors = Predecessors(self.features, self.manifest)
        self.runtime = runtimes.load(job.engine.runtime, job.backbone, job.engine.threads)
        self.environment = {**environment.fingerprint(), **self.runtime.fingerprint(), "batch": str(job.backbone.batch)}
        self._budget = Budget(job.engine.in_flight_bytes)
        self._turn = threading.Lock()
        self._lease_checked = time.monotonic()

    @cached_property
    def readers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.job.engine.readers, "reader")

    def check_lease(self, at_most_every: float = LEASE_CHECK_SECONDS) -> None:
        calls.check_ended()
        now = time.monotonic()
        if now - self._lease_checked >= at_most_every:
            self.job.lease.check()
            self._lease_checked = now

    def compute(self, shard: Shard, rows: pa.Table) -> FeatureBlock:
        """Features and records of a shard; batches hold readable images only, so a bad one costs its own row alone."""
        first_read = time.time()
        layout = self.features.layout
        out = {layer: np.full((shard.rows, dim), np.nan, layout.dtype) for layer, dim in layout.dims.items()}
        records: list[RowRecord] = []
        read = decode = forward = 0.0
        batch = _Batch(self.job.backbone)
        for number, image in enumerate(self._images(rows)):
            records.append(image.record)
            read, decode = read + image.read_seconds, decode + image.decode_seconds
            if image.features is not None:
                for layer, values in image.features.items():
                    out[layer][number] = values
            if image.pixels is not None:
                batch.add(number, image.pixels)
            if batch.is_full:
                forward += self._run(batch, out)
        forward += self._run(batch, out)
        self._refuse_if_all_are_gone(records)
        return FeatureBlock(shard, out, _finished(records, out), Timings(read, decode, forward, 0.0, first_read))

    def store(self, block: FeatureBlock, digest: str) -> Commit:
        """Write features and moments; the commit record is returned, for the caller to create last."""
        started = time.perf_counter()
        with storage_errors_in_words(self.features.location):
            self.features.arrays.write(block.shard, block.features)
        training = self._training_rows(block)
        inside = training - block.shard.start
        per_layer = {layer: Moments.of(values[inside]) for layer, values in block.features.items()}
        moments.save(moments.place(self.features.moments, block.shard.name, training), per_layer)
        timings = replace(block.timings, write=time.perf_counter() - started, committed=time.time())
        recipe = self.features.recipe.digest()
        return Commit.of(
            block, recipe=recipe, rows_digest=digest, lease=self.job.lease.number, environment=self.environment, timings=timings
        )

    def _refuse_if_all_are_gone(self, records: Sequence[RowRecord]) -> None:
        """A disk that is not mounted shows an empty folder; recorded as missing, its images would stay in quarantine for good."""
        live = [record for record in records if record.status != Status.VOID]
        if len(live) > 1 and all(record.reason == "missing" for record in live):
            raise StorageUnreachable(
                f"None of {len(live)} images, from {live[0].id} on, is under {self.source.root} any more: is the disk or bucket mounted? "
                "Nothing was recorded of them. Start the same command again when it is, or scan again if they are meant to be gone."
            )

    def _training_rows(self, block: FeatureBlock) -> NDArray[np.int64]:
        ok = np.array([record.status == Status.OK for record in block.records], bool)
        training = self.splits.codes[block.shard.start : block.shard.stop] == self.splits.code("train")
        return block.shard.start + np.flatnonzero(ok & training)

    def _run(self, batch: _Batch, out: Mapping[str, NDArray[np.float32]]) -> float:
        """Features of a batch into their rows; the seconds it took. The batch is empty afterwards."""
        if not batch.numbers:
            return 0.0
        self.check_lease()
        with self._turn:
            calls.check_ended()  # again: another shard's batch may have had its turn before
            started = time.perf_counter()
            for layer, values in self.runtime.run(batch.padded()).items():
                out[layer][batch.numbers] = cast(values[: len(batch.numbers)], self.features.layout.dtype)
            seconds = time.perf_counter() - started
        batch.numbers.clear()
        return seconds

    def _images(self, rows: pa.Table) -> Iterator[_Image]:
        """Rows in order, read and decoded ahead by the reading threads, a few batches of them."""
        ahead: deque[Future[list[_Image]]] = deque()
        some = max(1, self.job.engine.images_ahead // (4 * self.job.engine.readers))
        for start in range(0, len(rows), some):
            ahead.append(self.readers.submit(self._load_some, rows.slice(start, some).to_pylist()))
            if len(ahead) * some >= self.job.engine.images_ahead:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()

    def _load_some(self, rows: Sequence[Mapping[str, Any]]) -> list[_Image]:
        return [self._load(row) for row in rows]

    def _load(self, row: Mapping[str, Any]) -> _Image:
        record = RowRecord(row["row"], row["id"], row["version"], Status.OK)
        if row["removed"]:
            return _Image(record._replace(status=Status.VOID, detail="removed before it was read"), None, 0.0, 0.0)
        started, cpu, read = time.perf_counter(), time.thread_time(), 0.0
        try:
            content = self.source.read(record.id, record.version, row["place"])
            read, cpu = time.perf_counter() - started, time.thread_time()
            record = record._replace(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
            if known := self.predecessors.features_of(record.row, record.sha256):
                return _Image(record, None, read, 0.0, known)
            recipe = self.features.recipe
            with self._budget.held(len(content) + images.decoded_bytes(content, recipe)):
                pixels = images.load(content, recipe)
            return _Image(record, pixels, read, time.thread_time() - cpu)
        except UnreadableImage as error:
            bad = record._replace(status=Status.QUARANTINED, reason=error.reason, detail=error.detail[:300])
            return _Image(bad, None, read, time.thread_time() - cpu)


def _finished(records: Sequence[RowRecord], out: Mapping[str, NDArray[np.float32]]) -> list[RowRecord]:
    """With the digest of their features; features that are not finite become NaN, and their rows are quarantined."""
    finite = np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in out.values()]).tolist()
    finished = []
    for number, record in enumerate(records):
        if record.status != Status.OK:
            finished.append(record)
        elif finite[number]:
            finished.append(record._replace(feature=feature_digest([values[number] for values in out.values()])))
        else:
            for values in out.values():
                values[number] = np.nan
            detail = "the backbone gave infinity or NaN"
            if any(values.dtype == np.float16 for values in out.values()):
                detail += ", or a value beyond ±65,504, where float16 ends; storage.dtype float32 has room"
            finished.append(record._replace(status=Status.QUARANTINED, reason="non-finite", detail=detail))
    return finished


_workers: dict[tuple[str, str, str], _Worker] = {}
_opening = threading.Lock()


def _worker_of(job: ExtractionJob) -> _Worker:
    """This process's worker for a job; one is kept at a time."""
    with _opening:
        key = (job.feature_set.uri, job.lease.token, job.engine.runtime)
        if key not in _workers:
            _workers.clear()
            _workers[key] = _Worker(job)
        return _workers[key]
