"""Features of given rows, from the arrays of a feature set into one NumPy array."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.store.arrays import FeatureArrays, open_arrays
from trunkline.store.layout import ArrayLayout

Rows = NDArray[np.int64]
PIECE_BYTES = 16 * 2**20  # what is read at once beside the result


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

        Raises
        ------
        CorruptStore : an object is damaged, or missing and so reads as NaN.
        """
        if (
            columns is None and len(rows) and rows[-1] - rows[0] == len(rows) - 1
        ):  # no gap: as the arrays give them, without a copy
            return self._between(rows)
        kept = None if columns is None else np.flatnonzero(columns)
        out = np.empty((len(rows), self.width if kept is None else len(kept)), self.dtype)
        for first, last in self._pieces(rows):
            some = rows[first:last]
            block, places = self._between(some), some - some[0]
            if kept is not None:
                block = block if len(block) == len(places) else block[places]
                np.take(block, kept, axis=1, out=out[first:last], mode="clip")  # `raise` would go through a copy
            else:
                np.take(block, places, axis=0, out=out[first:last], mode="clip")
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

    def _between(self, rows: Rows) -> NDArray[Any]:
        """All rows from the first to the last of these, which are committed; a row that was never written is NaN all over."""
        start = int(rows[0])
        block = self._arrays.read(self.layer, start, int(rows[-1]) + 1)
        missing = rows[np.isnan(block[rows - start, 0])]
        if len(missing):
            raise CorruptStore(
                f"Committed rows between {missing[0]} and {missing[-1] + 1} of {self.location} read as NaN: an object is missing. "
                "Restore it, or delete their records under commits/ and run again."
            )
        return block
