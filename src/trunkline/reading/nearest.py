"""The rows whose features are nearest to given vectors: exact, and never with all features in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trunkline.errors import DataError, did_you_mean
from trunkline.nearest import METRICS, Metric, Search
from trunkline.reading.view import View

BLOCK_BYTES = 32 * 2**20  # of whole shards that are read at once

Found = tuple[NDArray[np.int64], NDArray[np.float64]]


def nearest(view: View, vectors: ArrayLike, k: int, metric: str, seen: Callable[[int], None] = lambda _: None) -> Found:
    """Among the rows of a view, in its columns.

    Parameters
    ----------
    vectors : (n, dim) of the whole layer, or (n, columns) of the view's columns alone.
    k : how many.
    metric : cosine or euclidean.
    seen : is told after each block how many rows were compared.

    Returns
    -------
    rows : (n, k) int64, the nearest first, of equally near ones the lower row.
    distances : (n, k) float64; of cosine 1 − the cosine, of euclidean the length of the difference.

    Raises
    ------
    DataError : an unknown metric, vectors of another width or not finite, k below 1 or more than there are rows.
    """
    search = Search(_queries(view, vectors), _count(view, k), _metric(metric))
    for first, last in view.reader.cut(view.rows, BLOCK_BYTES):
        rows = view.rows[first:last]
        search.see(rows, view.reader.read(rows, view.columns))
        seen(last)
    return search.found()


def _metric(asked: str) -> Metric:
    for metric in METRICS:
        if metric == asked:
            return metric
    raise DataError(f"There is no metric {asked!r}.{did_you_mean(asked, METRICS)} There are: {', '.join(METRICS)}.")


def _count(view: View, k: int) -> int:
    if k < 1:
        raise DataError(f"k is {k}: at least 1 neighbour has to be asked for.")
    if k > len(view.rows):
        raise DataError(
            f"k is {k:,}, and only {len(view.rows):,} rows with features are meant. Ask for fewer, or choose more rows."
        )
    return k


def _queries(view: View, vectors: ArrayLike) -> NDArray[Any]:
    queries = np.asarray(vectors)
    width, columns = view.reader.width, len(view.numbers)
    if queries.ndim != 2 or queries.shape[1] not in (width, columns) or not np.issubdtype(queries.dtype, np.floating):
        masked = f", or (n, {columns}) of the chosen columns" if columns != width else ""
        raise DataError(
            f"vectors= is {queries.dtype} of shape {queries.shape}; {view.reader.layer} takes floats of shape (n, {width}){masked}."
        )
    if queries.shape[1] != columns:
        queries = queries[:, view.numbers]
    if not np.isfinite(queries).all():
        raise DataError("vectors= holds NaN or infinity, and nothing is near to that. Leave such vectors out.")
    return queries
