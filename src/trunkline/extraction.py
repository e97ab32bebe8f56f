"""Rows of a dataset under one recipe or several, from one reading and decoding of each image. Any process can run it, and run it again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline import runtimes
from trunkline.blocks import Status
from trunkline.engine import in_common
from trunkline.image_stream import ImageStream
from trunkline.manifest import Manifest
from trunkline.shard_extraction import ExtractionJob, OpenRecipe, ShardInProgress, ShardReceipt, receipt
from trunkline.shards import Shard, plan
from trunkline.store.feature_store import Dataset

__all__ = ["ExtractionJob", "RowsReceipt", "ShardReceipt", "SharedJob", "extract_rows", "extract_shard"]


@dataclass(frozen=True)
class SharedJob:
    """The jobs of one recipe or several over one dataset."""

    jobs: tuple[ExtractionJob, ...]


@dataclass(frozen=True)
class RowsReceipt:
    """What became of a range of rows: for each job the receipts of its shards, in row order.

    `done` rows were gone through for any job; `images` of them held an image, which was read once.
    """

    rows: Shard
    done: int
    images: int
    receipts: tuple[tuple[ShardReceipt, ...], ...]


def extract_shard(job: ExtractionJob, shard: Shard) -> ShardReceipt:
    """Make a shard's features and commit them; a shard that is committed already is left as it is. Raises what `extract_rows` does."""
    ((only,),) = extract_rows(SharedJob((job,)), shard).receipts
    return only


def extract_rows(shared: SharedJob, rows: Shard) -> RowsReceipt:
    """Make and commit the shards of all jobs within these rows; for what is committed already no image is read and no network runs.

    Parameters
    ----------
    rows : of one batch, at most 1,024, and whole shards of each job.

    Raises
    ------
    LeaseLost : a run has ended or was taken over; of the shards in progress nothing is committed, under whichever recipe.
    StorageError : the store refuses to be written.
    CorruptStore : another process committed one of these shards meanwhile, with other features.
    """
    return _worker_of(shared).extract(rows)


class _Worker:
    """What a process keeps between the shards of a shared job: its recipes, and the threads that read for all of them."""

    def __init__(self, shared: SharedJob) -> None:
        jobs = shared.jobs
        dataset = Dataset(jobs[0].dataset)
        engine = in_common([job.engine for job in jobs])
        self.manifest = Manifest.open(jobs[0].dataset / "manifest")
        splits = dataset.splits.values(self.manifest.rows)
        loaded = runtimes.load_each([(job.engine.runtime, job.backbone) for job in jobs], engine.threads)
        turn = threading.Lock()
        self.recipes = [
            OpenRecipe(job, self.manifest, splits, runtime, turn) for job, runtime in zip(jobs, loaded, strict=True)
        ]
        source = dataset.source
        self._root = source.root
        known = [each.predecessors.features_of for each in self.recipes]
        self.stream = ImageStream(source, engine, [each.features.recipe for each in self.recipes], known)

    def extract(self, rows: Shard) -> RowsReceipt:
        receipts: list[list[ShardReceipt]] = []
        waiting: list[deque[Shard]] = []
        for recipe in self.recipes:
            shards = list(plan([(rows.start, rows.stop)], recipe.features.layout.rows_per_shard))
            there = [shard for shard in shards if recipe.features.commits.has(shard.name)]
            receipts.append([receipt(recipe.features.commits.read(shard.name), reused=True) for shard in there])
            waiting.append(deque(shard for shard in shards if shard not in there))
        done, images = self._make(rows, waiting, receipts) if any(waiting) else (0, 0)
        in_order = (tuple(sorted(some, key=lambda each: each.shard)) for some in receipts)
        return RowsReceipt(rows, done, images, tuple(in_order))

    def _make(self, rows: Shard, waiting: Sequence[deque[Shard]], receipts: Sequence[list[ShardReceipt]]) -> tuple[int, int]:
        """Shards that wait, as their images come in; how many rows were gone through, and how many of them held an image."""
        table = self.manifest.read(rows)
        wanted = _wanted(rows, waiting)

        def begin(number: int) -> ShardInProgress:
            shard = waiting[number].popleft()
            return ShardInProgress(self.recipes[number], shard, table.slice(shard.start - rows.start, shard.rows))

        making = {number: begin(number) for number, shards in enumerate(waiting) if shards}
        done = images = 0
        for row in self.stream.of(table, wanted):
            done += 1
            images += any(image.record.status != Status.VOID for image in row.values())
            for number, image in row.items():
                making[number].add(image)
                if making[number].is_whole:
                    receipts[number].append(making.pop(number).commit(self._root))
                    if waiting[number]:
                        making[number] = begin(number)
        return done, images


def _wanted(rows: Shard, waiting: Sequence[Sequence[Shard]]) -> list[list[int]]:
    """For each row the numbers of the recipes whose waiting shards hold it."""
    wanted: list[list[int]] = [[] for _ in range(rows.rows)]
    for number, shards in enumerate(waiting):
        for shard in shards:
            for row in range(shard.start, shard.stop):
                wanted[row - rows.start].append(number)
    return wanted


_workers: dict[tuple[tuple[str, str, str], ...], _Worker] = {}
_opening = threading.Lock()


def _worker_of(shared: SharedJob) -> _Worker:
    """This process's worker for a job; one is kept at a time."""
    with _opening:
        key = tuple((job.feature_set.uri, job.lease.token, job.engine.runtime) for job in shared.jobs)
        if key not in _workers:
            _workers.clear()
            _workers[key] = _Worker(shared)
        return _workers[key]
