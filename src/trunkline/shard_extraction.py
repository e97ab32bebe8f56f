"""One shard under one recipe, as its images come in: batch, run, write, commit."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trunkline import calls, environment, moments
from trunkline.backbones.compiled import Compiled
from trunkline.blocks import FeatureBlock, RowRecord, Status, Timings, feature_digest, rows_digest
from trunkline.engine import Engine
from trunkline.errors import CorruptStore, StorageUnreachable
from trunkline.image_stream import Image
from trunkline.locations import Location, storage_errors_in_words
from trunkline.manifest import Manifest
from trunkline.moments import Moments
from trunkline.predecessors import Predecessors
from trunkline.runtimes import Runtime
from trunkline.shards import Shard
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet
from trunkline.store.layout import cast
from trunkline.store.lease import Lease
from trunkline.versions import Values

LEASE_CHECK_SECONDS = 2.0
EXAMPLES = 3  # of the quarantined images of a shard that are logged

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractionJob:
    """What every shard of a feature set has in common in a run; small, and sent to workers instead of paths or arrays."""

    dataset: Location
    feature_set: Location
    backbone: Compiled
    engine: Engine
    lease: Lease


@dataclass(frozen=True)
class ShardReceipt:
    """What became of a shard: rows by status, quarantined ones by reason; `reused` where it was committed before.

    `read_bytes` are of image files, `written_bytes` of features before compression.
    """

    shard: Shard
    statuses: Mapping[str, int]
    reasons: Mapping[str, int]
    timings: Timings
    reused: bool
    read_bytes: int = 0
    written_bytes: int = 0


def receipt(commit: Commit, *, reused: bool) -> ShardReceipt:
    """The counts of a commit record."""
    statuses = Counter(commit.table["status"].to_pylist())
    reasons = Counter(reason for reason in commit.table["reason"].to_pylist() if reason)
    read = pc.sum(commit.table["size"]).as_py() or 0
    return ShardReceipt(commit.shard, dict(statuses), dict(reasons), commit.timings, reused, read)


def _log_commit(made: ShardReceipt, commit: Commit) -> None:
    """One line a shard, and one for all of its bad images together."""
    log.debug("Shard %s is committed: %s, %.1f s of forward passes", made.shard.name, made.statuses, made.timings.forward)
    bad = made.statuses.get(Status.QUARANTINED, 0)
    if bad:
        listed = commit.table.filter(pc.equal(commit.table["status"], Status.QUARANTINED.value)).slice(0, EXAMPLES).to_pylist()
        examples = "; ".join(f"{each['id']}: {each['reason']}, {each['detail'] or 'no more is known'}" for each in listed)
        log.info("%d of %d rows of shard %s are quarantined, such as %s", bad, made.shard.rows, made.shard.name, examples)


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


class OpenRecipe:
    """What a process keeps of one job between its shards: open feature set, loaded backbone. `turn` is taken to run it."""

    def __init__(self, job: ExtractionJob, manifest: Manifest, splits: Values, runtime: Runtime, turn: threading.Lock) -> None:
        self.job = job
        self.features = FeatureSet.open(job.feature_set)
        self.predecessors = Predecessors(self.features, manifest)
        self.environment = {**environment.fingerprint(), **runtime.fingerprint(), "batch": str(job.backbone.batch)}
        self._splits = splits
        self._runtime, self._turn = runtime, turn
        self._lease_checked = time.monotonic()

    def check_lease(self, at_most_every: float = LEASE_CHECK_SECONDS) -> None:
        calls.check_ended()
        now = time.monotonic()
        if now - self._lease_checked >= at_most_every:
            self.job.lease.check()
            self._lease_checked = now

    def run(self, batch: _Batch, out: Mapping[str, NDArray[np.float32]]) -> float:
        """Features of a batch into their rows; the seconds it took. The batch is empty afterwards."""
        if not batch.numbers:
            return 0.0
        self.check_lease()
        with self._turn:
            calls.check_ended()  # again: another shard's batch may have had its turn before
            started = time.perf_counter()
            for layer, values in self._runtime.run(batch.padded()).items():
                out[layer][batch.numbers] = cast(values[: len(batch.numbers)], self.features.layout.dtype)
            seconds = time.perf_counter() - started
        batch.numbers.clear()
        return seconds

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

    def _training_rows(self, block: FeatureBlock) -> NDArray[np.int64]:
        ok = np.array([record.status == Status.OK for record in block.records], bool)
        training = self._splits.codes[block.shard.start : block.shard.stop] == self._splits.code("train")
        return block.shard.start + np.flatnonzero(ok & training)


class ShardInProgress:
    """Features and records of a shard, row by row; batches hold readable images only, so a bad one costs its own row alone.

    Parameters
    ----------
    rows : the manifest's lines of the shard.
    """

    def __init__(self, recipe: OpenRecipe, shard: Shard, rows: pa.Table) -> None:
        recipe.check_lease(at_most_every=0.0)
        self._recipe, self._shard, self._rows = recipe, shard, rows
        layout = recipe.features.layout
        self._out = {layer: np.full((shard.rows, dim), np.nan, layout.dtype) for layer, dim in layout.dims.items()}
        self._records: list[RowRecord] = []
        self._batch = _Batch(recipe.job.backbone)
        self._first_read, self._read, self._decode, self._forward = time.time(), 0.0, 0.0, 0.0

    @property
    def is_whole(self) -> bool:
        return len(self._records) == self._shard.rows

    def add(self, image: Image) -> None:
        """The next row; the batch runs where it is full, or the row the last one."""
        number = len(self._records)
        self._records.append(image.record)
        self._read, self._decode = self._read + image.read_seconds, self._decode + image.decode_seconds
        if image.features is not None:
            for layer, values in image.features.items():
                self._out[layer][number] = values
        if image.pixels is not None:
            self._batch.add(number, image.pixels)
        if self._batch.is_full or self.is_whole:
            self._forward += self._recipe.run(self._batch, self._out)

    def commit(self, root: Location) -> ShardReceipt:
        """Write it, the record last; `root` is where the images are. Raises what `extract_rows` does."""
        recipe = self._recipe
        _refuse_if_all_are_gone(self._records, root)
        timings = Timings(self._read, self._decode, self._forward, 0.0, self._first_read)
        block = FeatureBlock(self._shard, self._out, _finished(self._records, self._out), timings)
        recipe.check_lease(at_most_every=0.0)
        commit = recipe.store(block, rows_digest(self._rows))
        recipe.check_lease(at_most_every=0.0)  # who was stopped while it wrote must not commit after a takeover
        if recipe.features.commits.create(commit):
            made = replace(receipt(commit, reused=False), written_bytes=sum(each.nbytes for each in self._out.values()))
            _log_commit(made, commit)
            return made
        _refuse_other_features(recipe.features, commit)
        return receipt(commit, reused=True)


def _refuse_other_features(features: FeatureSet, mine: Commit) -> None:
    """A shard that was committed meanwhile has the same features, unless images changed between the two."""
    if not mine.table["feature"].equals(features.commits.read(mine.shard.name).table["feature"]):
        raise CorruptStore(
            f"The shard {mine.shard.name} of {features.location} was committed by another process while its images changed, so its "
            "features and its record may differ. `trunkline verify --repair` makes it anew."
        )


def _refuse_if_all_are_gone(records: Sequence[RowRecord], root: Location) -> None:
    """A disk that is not mounted shows an empty folder; recorded as missing, its images would stay in quarantine for good."""
    live = [record for record in records if record.status != Status.VOID]
    if len(live) > 1 and all(record.reason == "missing" for record in live):
        raise StorageUnreachable(
            f"None of {len(live)} images, from {live[0].id} on, is under {root} any more: is the disk or bucket mounted? "
            "Nothing was recorded of them. Start the same command again when it is, or scan again if they are meant to be gone."
        )


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
