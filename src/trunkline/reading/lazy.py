"""Features as a Dask array: a block is a run of whole shards, read by the worker that needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.reading.feature_reader import FeatureReader
from trunkline.reading.libraries import needed
from trunkline.reading.view import View

BLOCK_BYTES = 32 * 2**20


def dask(view: View, method: str = "dask") -> Any:
    """(n, *inner); nothing is read before it is computed, and the chunks are known."""
    array = needed("dask.array", "dask[array]", method)
    sizes = tuple(last - first for first, last in view.reader.cut(view.rows, BLOCK_BYTES)) if len(view.rows) else (0,)
    return array.from_array(view.rows, chunks=(sizes,)).map_blocks(
        _read,
        reader=view.reader,
        columns=view.columns,
        inner=view.inner,
        name=f"{view.reader.layer}-{_token(view)}",
        new_axis=list(range(1, 1 + len(view.inner))),
        chunks=(sizes, *((each,) for each in view.inner)),
        dtype=view.reader.dtype,
        meta=np.empty((0,) * (1 + len(view.inner)), view.reader.dtype),
    )


def _token(view: View) -> str:
    base = needed("dask.base", "dask[array]", "dask")
    return str(base.tokenize(view.reader, view.rows, view.columns))


def _read(
    rows: NDArray[np.int64], reader: FeatureReader, columns: NDArray[np.bool_] | None, inner: tuple[int, ...]
) -> NDArray[Any]:
    return reader.read(rows, columns).reshape(len(rows), *inner)
