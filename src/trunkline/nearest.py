"""Exact nearest neighbours: blocks of references against queries, by products of matrices; nothing is approximated.

`nearest_of` orders by float32 products, as the head `knn` votes. `Search` takes the references block by block, so that they need not fit
into memory, and orders by float64 distances: products only say which rows can be among the nearest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "euclidean"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Vectors = NDArray[np.float32]
Places = NDArray[np.int64]
QUERIES, REFERENCES = 512, 8192  # of a block: 16 MiB of distances
EPSILON = float(np.finfo(np.float32).eps)


def unit(x: Vectors) -> Vectors:
    """Divide each row by its length, in place; a row that is zero all over stays so."""
    lengths = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))
    x /= np.maximum(lengths, np.finfo(np.float32).tiny)[:, None].astype(np.float32)
    return x


def nearest_of(queries: Vectors, references: Vectors, k: int, metric: Metric) -> Places:
    """(n, k) places of the nearest references, the nearest first; of equal ones the first in order.

    Both have rows of length 1 where the metric is cosine.
    """
    k = min(k, len(references))
    best, places = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for first, distances in _distances(queries, references, metric):
        near = _smallest(distances, k)
        best = np.hstack([best, np.take_along_axis(distances, near, axis=1)])
        places = np.hstack([places, near + first])
        order = np.lexsort((places, best), axis=1)[:, :k]
        best, places = np.take_along_axis(best, order, axis=1), np.take_along_axis(places, order, axis=1)
    return places


class Search:
    """The k nearest of each query among rows that come block by block.

    Parameters
    ----------
    queries : (n, dim), finite.
    k : how many are wanted.
    metric : cosine (1 − cosine of the angle; 1 where a row is zero all over) or euclidean.
    """

    def __init__(self, queries: NDArray[Any], k: int, metric: Metric) -> None:
        self._exact = np.asarray(queries, np.float64)
        quick = np.array(queries, np.float32)
        self._quick = unit(quick) if metric == "cosine" else quick
        self._k, self._metric = k, metric
        self._rows = [np.empty(0, np.int64) for _ in self._exact]
        self._distances = [np.empty(0) for _ in self._exact]

    def see(self, rows: Places, block: NDArray[Any]) -> None:
        """Look at (m, dim) features of these rows, whose numbers were not seen before."""
        references = unit(np.array(block, np.float32)) if self._metric == "cosine" else np.asarray(block, np.float32)
        for start in range(0, len(self._quick), QUERIES):
            queries = self._quick[start : start + QUERIES]
            for first, distances in _distances(queries, references, self._metric):
                slack = _slack(queries, references[first : first + REFERENCES], self._metric)
                for number, found in enumerate(distances):
                    near = self._candidates(start + number, found, slack)
                    self._take(start + number, rows[first + near], block[first + near])

    def found(self) -> tuple[Places, NDArray[np.float64]]:
        """(n, k) row numbers and distances, the nearest first, of equal ones the lower row; fewer where fewer rows were seen."""
        return np.stack(self._rows), np.stack(self._distances)

    def _candidates(self, query: int, quick: Vectors, slack: float) -> Places:
        """Places of all that can be among the k nearest, however the products were rounded."""
        limit = np.inf if len(quick) <= self._k else float(np.partition(quick, self._k - 1)[self._k - 1])
        if len(self._distances[query]) == self._k:
            limit = min(limit, self._as_quick(query, self._distances[query][-1]))
        return np.flatnonzero(quick <= limit + slack)

    def _as_quick(self, query: int, distance: float) -> float:
        """What a distance is in the scale of the products."""
        if self._metric == "cosine":
            return float(distance) - 1.0
        return float(np.square(distance) - np.square(self._exact[query]).sum())

    def _take(self, query: int, rows: Places, vectors: NDArray[Any]) -> None:
        distances = _exact(self._exact[query], vectors, self._metric)
        distances, rows = np.append(self._distances[query], distances), np.append(self._rows[query], rows)
        order = np.lexsort((rows, distances))[: self._k]
        self._distances[query], self._rows[query] = distances[order], rows[order]


def _distances(queries: Vectors, references: Vectors, metric: Metric) -> Iterator[tuple[int, Vectors]]:
    """Blocks of (n, references): what orders them as their distances do, each with the place of its first reference."""
    for first in range(0, len(references), REFERENCES):
        block = references[first : first + REFERENCES]
        distances = queries @ block.T
        distances *= -1.0 if metric == "cosine" else -2.0
        if metric == "euclidean":
            distances += np.einsum("ij,ij->i", block, block)
        yield first, distances


def _slack(queries: Vectors, references: Vectors, metric: Metric) -> float:
    """How far a float32 product and sum may be from the true one (N. J. Higham, "Accuracy and Stability", 2002, section 3.1)."""
    largest: float = 1.0
    if metric == "euclidean":
        largest = max(float(np.einsum("ij,ij->i", each, each).max(initial=0.0)) for each in (queries, references))
    return float(4.0 * (references.shape[1] + 4) * EPSILON * largest)


def _exact(query: NDArray[np.float64], vectors: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """(m,) distances in float64; equal rows have equal ones."""
    x = np.asarray(vectors, np.float64)
    if metric == "euclidean":
        x = x - query
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", x, x)))
    lengths = np.sqrt(np.einsum("ij,ij->i", x, x)) * np.sqrt(np.einsum("i,i->", query, query))
    products = np.einsum("ij,j->i", x, query)
    return np.asarray(np.clip(1.0 - products / np.where(lengths > 0, lengths, 1.0), 0.0, 2.0))


def _smallest(distances: Vectors, k: int) -> Places:
    """(n, ≤ k) columns of the smallest, in no order; where the last of them has equals, the first ones of these."""
    if k >= distances.shape[1]:
        return np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    chosen = np.argpartition(distances, k - 1, axis=1)[:, :k]
    last = np.take_along_axis(distances, chosen, axis=1).max(axis=1, keepdims=True)
    tied = np.flatnonzero((distances <= last).sum(axis=1) > k)
    for row in tied:
        chosen[row] = np.argsort(distances[row], kind="stable")[:k]
    return chosen
