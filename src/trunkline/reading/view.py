"""What a selection comes down to: a reader, rows and columns; what each way of reading is built upon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError
from trunkline.reading.feature_reader import FeatureReader
from trunkline.reading.snapshot import Snapshot

Batch = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.object_]]
READ_AHEAD_BYTES = 16 * 2**20  # of whole shards that are read at once


@dataclass(frozen=True, eq=False)
class View:
    """Rows, ascending, and columns ((dim,) bool, or None for all) of one layer."""

    snapshot: Snapshot
    reader: FeatureReader
    rows: NDArray[np.int64]
    columns: NDArray[np.bool_] | None

    @property
    def inner(self) -> tuple[int, ...]:
        """What one row of `features` looks like: (columns,), or (height, width, channels) of kept maps with all columns."""
        if self.columns is not None:
            return (int(self.columns.sum()),)
        return self.reader.layout.shape(self.reader.layer)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The columns' numbers, ascending."""
        return np.arange(self.reader.width) if self.columns is None else np.flatnonzero(self.columns)

    def flat(self) -> NDArray[Any]:
        """Of all rows: (n, columns) in the stored dtype, kept maps flat."""
        return self.reader.read(self.rows, self.columns)

    def features(self, first: int = 0, last: int | None = None) -> NDArray[Any]:
        """Of the rows in places [first, last): (n, *inner) in the stored dtype."""
        rows = self.rows[first:last]
        return self.reader.read(rows, self.columns).reshape(len(rows), *self.inner)

    def codes(self, what: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Labels or splits of the rows: places in the names, −1 where none; the names are those of the whole dataset."""
        codes, names = self.snapshot.codes(what)
        return codes[self.rows], names

    def labels(self) -> NDArray[np.object_]:
        """(n,) str or None."""
        return in_words(*self.codes("label"))

    def batches(self, size: int) -> Iterator[Batch]:
        """(rows, features, labels) of `size` rows each, the last one of the rest, in row order; a few shards in memory at a time."""
        labels, names = self.codes("label")
        at_least_one(size)
        first, held = 0, np.empty((0, *self.inner), self.reader.dtype)
        for start, stop in self.reader.cut(self.rows, READ_AHEAD_BYTES):
            block = self.features(start, stop)
            held = np.concatenate([held, block]) if len(held) else block
            full = len(held) if stop == len(self.rows) else len(held) // size * size
            for place in range(0, full, size):
                x = held[place : min(place + size, full)]
                last = first + len(x)
                yield self.rows[first:last], x, in_words(labels[first:last], names)
                first = last
            held = held[full:].copy()  # a view would keep the whole block


def in_words(codes: NDArray[np.int32], names: tuple[str, ...]) -> NDArray[np.object_]:
    """(n,) str, None where a code is −1."""
    return np.array([*names, None], object)[codes]


def at_least_one(size: int) -> None:
    """Raises DataError for a batch size below 1."""
    if size < 1:
        raise DataError(f"A batch of {size} rows holds nothing; give a batch size of 1 or more.")
