"""Features as endless work for training loops: batches with class numbers, shuffled within bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.reading.feature_reader import FeatureReader
from trunkline.reading.view import View, at_least_one

BUFFER_BYTES = 64 * 2**20  # of whole shards that are shuffled together
Batch = tuple[NDArray[Any], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Stream:
    """Batches of (features, class numbers), over and over. It can be pickled, and needs no snapshot.

    Parameters
    ----------
    reader, rows, columns, inner : as a `View` has them.
    classes : (n,) int64, places in the dataset's names; −1 for rows without a label.
    batch_size : rows of a batch; the last one of a pass may be smaller.
    shuffle : take runs of shards in random order, and mix the rows of each run.
    """

    reader: FeatureReader
    rows: NDArray[np.int64]
    columns: NDArray[np.bool_] | None
    inner: tuple[int, ...]
    classes: NDArray[np.int64]
    batch_size: int
    shuffle: bool

    @classmethod
    def of(cls, view: View, batch_size: int, shuffle: bool) -> Stream:
        """Raises DataError for a batch size below 1."""
        at_least_one(batch_size)
        classes = view.codes("label")[0].astype(np.int64)
        return cls(view.reader, view.rows, view.columns, view.inner, classes, batch_size, shuffle)

    def batches(self, seed: Sequence[int], part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """One pass over the rows, or over one of several parts of them; the same seed gives the same order.

        Whole shards belong to a part, so that no two parts read the same object; all parts need the same seed.
        """
        random = np.random.default_rng(seed)
        pieces = self.reader.cut(self.rows, 1)
        if self.shuffle:
            pieces = [pieces[place] for place in random.permutation(len(pieces))]
        pieces = pieces[part::parts]
        at_once = max(1, BUFFER_BYTES // self.reader.shard_bytes)
        held: list[Batch] = []
        for first in range(0, len(pieces), at_once):
            x, y = self._mixed([*held, *map(self._read, pieces[first : first + at_once])], random)
            ends = first + at_once >= len(pieces)
            full = len(x) if ends else len(x) // self.batch_size * self.batch_size
            for place in range(0, full, self.batch_size):
                chosen = slice(place, min(place + self.batch_size, full))
                yield x[chosen], y[chosen]
            held = [(x[full:].copy(), y[full:])] if full < len(x) else []

    def _read(self, piece: tuple[int, int]) -> Batch:
        rows = self.rows[slice(*piece)]
        return self.reader.read(rows, self.columns).reshape(len(rows), *self.inner), self.classes[slice(*piece)]

    def _mixed(self, parts: Sequence[Batch], random: np.random.Generator) -> Batch:
        x, y = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        if not self.shuffle:
            return x, y
        order = random.permutation(len(x))
        return x[order], y[order]
