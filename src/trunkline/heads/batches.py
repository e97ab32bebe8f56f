"""Mini-batches in random order from rows that need not fit into memory: blocks are shuffled, and rows within windows of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.protocol import Features
from trunkline.heads.training import TrainingData

BLOCK_BYTES = 4 * 2**20  # of whole shards, as they are stored
LEAST_WINDOW = 8 * 2**20

Batch = tuple[Features, NDArray[np.int64]]


@dataclass
class Batches:
    """Rows of training data as batches.

    Parameters
    ----------
    data : the rows; features as stored.
    size : rows of a batch, at most all.
    memory : bytes of features that are held: all of them where they fit, else a window of blocks at a time, a quarter of it.
    """

    data: TrainingData
    size: int
    memory: int
    _held: dict[int, Features] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = min(self.size, len(self.data))
        self._cuts = self.data.reader.cut(self.data.rows, min(BLOCK_BYTES, self.window))
        self._holds = self.data.nbytes <= self.memory

    @property
    def window(self) -> int:
        """Bytes of the rows that are mixed."""
        return max(self.memory // 4, LEAST_WINDOW)

    def epoch(self, random: np.random.Generator) -> Iterator[Batch]:
        """Each row once: (size, kept) features and (size,) training places of each batch.

        All batches have the same size, for which TensorFlow compiles once: the last one is filled up with rows of the last window.
        """
        x, places = np.empty((0, self.data.width), np.float32), np.empty(0, np.int64)
        for blocks in self._windows(random):
            read = [(x, places), *(self._block(number) for number in blocks)]
            x, places = np.concatenate([each for each, _ in read]), np.concatenate([each for _, each in read])
            order = random.permutation(len(places))
            whole = len(order) // self.size * self.size
            for first in range(0, whole, self.size):
                some = order[first : first + self.size]
                yield x[some], places[some]
            again = np.concatenate([order[whole:], np.resize(order, self.size)])[: self.size]
            last = x[again], places[again]
            x, places = x[order[whole:]], places[order[whole:]]
        if len(places):
            yield last

    def in_order(self) -> Iterator[Batch]:
        """All rows by blocks, in row order."""
        for number in range(len(self._cuts)):
            yield self._block(number)

    def _windows(self, random: np.random.Generator) -> Iterator[list[int]]:
        numbers, size = list[int](), 0
        for number in random.permutation(len(self._cuts)).tolist():
            first, last = self._cuts[number]
            more = (last - first) * self.data.width * 4
            if numbers and size + more > self.window and not self._holds:
                yield numbers
                numbers, size = [], 0
            numbers.append(number)
            size += more
        if numbers:
            yield numbers

    def _block(self, number: int) -> Batch:
        first, last = self._cuts[number]
        x = self._held.get(number)
        if x is None:
            x = np.asarray(self.data.reader.read(self.data.rows[first:last], self.data.columns), np.float32)
            if self._holds:
                self._held[number] = x
        return x, np.arange(first, last)
