"""Features of given rows, from the arrays of a feature set into one NumPy array."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.store.arrays import FeatureArrays, open_arrays
from trunkline.store.layout import ArrayLayout

Rows = NDArray[np.int64]
Columns = NDArray[np.int64]  # their numbers
PIECE_BYTES = 16 * 2**20  # what one thread reads at once
THREADS = 3  # while one copies and checks its rows, two wait for the storage and the codecs


class FeatureReader:
    """Reads one layer. It can be pickled: another process opens the arrays again.

    Parameters
    ----------
    location, layout : of the feature set.
    layer : one of its layers.
    arrays : those of the feature set where they are open already.
    """

    def __init__(self, location: Location, layout: ArrayLayout, layer: str, arrays: FeatureArrays | None = None) -> None:
        self.location = location
        self.layout = layout
        self.layer = layer
        self._arrays = arrays or open_arrays(location, layout)

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureReader, (self.location, self.layout, self.layer)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return self.location.uri, self.layer

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.layout.dtype)

    @property
    def width(self) -> int:
        return self.layout.dims[self.layer]

    @property
    def shard_bytes(self) -> int:
        return self.layout.rows_per_shard * self.width * self.dtype.itemsize

    def read(self, rows: Rows, columns: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Features of rows that ascend and are committed: (n, dim) or (n, columns), kept maps flat, in the stored dtype.

        A few pieces are read at once, each of them straight into the result where it has no gap.

        Raises
        ------
        CorruptStore : an object is damaged, or missing and so reads as NaN.
        """
        kept = None if columns is None else np.flatnonzero(columns)
        out = np.empty((len(rows), self.width if kept is None else len(kept)), self.dtype)
        pieces = [slice(*piece) for piece in self._pieces(rows)]
        spare = self._blocks(min(THREADS, len(pieces)), max((_span(rows[piece]) for piece in pieces), default=0))

        def fill(piece: slice) -> None:
            self._fill(out[piece], rows[piece], kept, spare)

        if len(pieces) == 1:
            fill(pieces[0])
        else:
            with ThreadPoolExecutor(THREADS, "reading") as threads:
                for _ in threads.map(fill, pieces):
                    pass  # an error comes out here, and pieces that nobody has begun are cancelled
        return out

    def cut(self, rows: Rows, most_bytes: int) -> list[tuple[int, int]]:
        """Slices [first, last) of `rows` that lie in the same run of whole shards; a run is at most so many bytes, or one shard."""
        span = self.layout.rows_per_shard * max(1, most_bytes // self.shard_bytes)
        edges = [*np.flatnonzero(np.diff(rows // span, prepend=-1)).tolist(), len(rows)]
        return list(pairwise(edges))

    def _pieces(self, rows: Rows) -> Iterator[tuple[int, int]]:
        """As `cut`, and never over a shard that holds none of the rows."""
        for first, last in self.cut(rows, PIECE_BYTES):
            shards = rows[first:last] // self.layout.rows_per_shard
            edges = [first, *(first + 1 + np.flatnonzero(np.diff(shards) > 1)).tolist(), last]
            yield from pairwise(edges)

    def _blocks(self, count: int, rows: int) -> SimpleQueue[NDArray[Any]]:
        """Memory for pieces that are not read straight into the result, used again and again: fresh memory costs as much as a copy."""
        blocks: SimpleQueue[NDArray[Any]] = SimpleQueue()
        for _ in range(count):
            blocks.put(np.empty((rows, self.width), self.dtype))
        return blocks

    def _fill(self, out: NDArray[Any], rows: Rows, kept: Columns | None, spare: SimpleQueue[NDArray[Any]]) -> None:
        """These rows and columns, read straight into `out` where they lie in the arrays as they do there."""
        if kept is None and _span(rows) == len(rows):
            self._read_span(out, rows)
            return
        block = spare.get()
        try:
            span = block[: _span(rows)]
            self._read_span(span, rows)
            _pick(span, rows - rows[0], kept, out)
        finally:
            spare.put(block)

    def _read_span(self, out: NDArray[Any], rows: Rows) -> None:
        """All rows from the first to the last of these, which are committed; a row that was never written is NaN all over."""
        start = int(rows[0])
        self._arrays.read(self.layer, start, start + len(out), out)
        missing = rows[np.isnan(out[rows - start, 0])]
        if len(missing):
            raise CorruptStore(
                f"Committed rows between {missing[0]} and {missing[-1] + 1} of {self.location} read as NaN: an object is missing. "
                "Restore it, or delete their records under commits/ and run again."
            )


def _span(rows: Rows) -> int:
    """How many rows there are from the first to the last of these."""
    return int(rows[-1] - rows[0]) + 1


def _pick(span: NDArray[Any], places: Rows, kept: Columns | None, out: NDArray[Any]) -> None:
    """Rows in these places, and of them the kept columns; `raise` in place of `clip` would go through a copy."""
    if kept is None:
        np.take(span, places, axis=0, out=out, mode="clip")
    else:
        np.take(span if len(span) == len(places) else span[places], kept, axis=1, out=out, mode="clip")
