"""Moments of the training images, batch by batch of the manifest, from what was stored beside the features."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from trunkline import moments
from trunkline.locations import Location
from trunkline.moments import Moments
from trunkline.progress import Progress, Step
from trunkline.reader import Features
from trunkline.reading.snapshot import OK
from trunkline.shards import Shard

READING_THREADS = 16
AHEAD = 64  # objects that are held while they wait for their turn

Layers = Mapping[str, Moments]


@dataclass(frozen=True)
class BatchMoments:
    """Of the live training images of one batch: its number, its first row, moments layer by layer; and shards read again for it."""

    number: int
    start: int
    layers: Layers
    reread: int

    @property
    def rows(self) -> int:
        return next(iter(self.layers.values())).count


def training_rows(features: Features) -> NDArray[np.int64]:
    """The live rows of the training split that have features, ascending; without the index, which holds every image's digest."""
    codes, names = features.snapshot.codes("split")
    training = codes == names.index("train") if "train" in names else np.zeros(len(codes), bool)
    return np.flatnonzero(training & (features.snapshot.statuses() == OK))


def batch_moments(features: Features, rows: NDArray[np.int64], reread_from: int, progress: Progress) -> Iterator[BatchMoments]:
    """The batches that have committed shards, in order; moments are merged in row order, whatever the threads do.

    Parameters
    ----------
    rows : the training rows.
    reread_from : a row. Where moments of just these rows of a shard were never stored, as after a change of splits, they are
        computed from its features and stored, if its batch starts there or later; an earlier batch is left out.

    Raises
    ------
    CorruptStore : an object is damaged.
    """
    starts = [start for start, _, _ in features.snapshot.batches]
    shards = features.shards()
    numbers = (np.searchsorted(starts, [shard.start for shard in shards], "right") - 1).tolist()
    loaded = zip(numbers, _stored(features, shards, rows), strict=True)
    done = 0
    for number, parts in groupby(loaded, lambda pair: pair[0]):
        merged: Layers | None = None
        reread, whole = 0, True
        for _, (place, inside, part) in parts:
            done += 1
            progress(Step("select", done, len(shards)))
            if part is None and starts[number] < reread_from:
                whole = False
            elif whole:
                merged = _with(merged, part or _computed(features, place, inside))
                reread += part is None
        if whole and merged is not None:
            yield BatchMoments(number, starts[number], merged, reread)


def merged(batches: Sequence[BatchMoments]) -> Layers:
    """Of all these batches together, in their order; at least one."""
    return {layer: moments.merged(batch.layers[layer] for batch in batches) for layer in batches[0].layers}


def _with(so_far: Layers | None, part: Layers) -> Layers:
    return part if so_far is None else {layer: so_far[layer].merge(each) for layer, each in part.items()}


def _computed(features: Features, place: Location, rows: NDArray[np.int64]) -> Layers:
    part = {layer: Moments.of(features.read(rows, layer)) for layer in features.layers}
    moments.save(place, part)
    return part


def _stored(
    features: Features, shards: Sequence[Shard], rows: NDArray[np.int64]
) -> Iterator[tuple[Location, NDArray[np.int64], Layers | None]]:
    """Of each shard, in order: where its moments lie, its training rows, its moments or None; read ahead by threads."""
    edges = np.searchsorted(rows, [(shard.start, shard.stop) for shard in shards]).reshape(-1, 2)
    waiting: deque[tuple[Location, NDArray[np.int64], Future[Layers | None]]] = deque()
    with ThreadPoolExecutor(READING_THREADS) as threads:
        for shard, (first, last) in zip(shards, edges.tolist(), strict=True):
            inside = rows[first:last]
            place = moments.place(features.feature_set.moments, shard.name, inside)
            waiting.append((place, inside, threads.submit(_load, place, tuple(features.layers))))
            if len(waiting) >= AHEAD:
                place, inside, part = waiting.popleft()
                yield place, inside, part.result()
        while waiting:
            place, inside, part = waiting.popleft()
            yield place, inside, part.result()


def _load(place: Location, layers: Sequence[str]) -> Layers | None:
    try:
        return moments.load(place, layers)
    except FileNotFoundError:
        return None
