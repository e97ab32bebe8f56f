"""95 % intervals by the percentile bootstrap: Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.metrics.parts import Intervals

Values = NDArray[np.float64]
RESAMPLES = 1_000
FEWEST_RESAMPLES = 200  # of very many rows, where an interval is narrow anyway
MOST_DRAWS = 10**8
NUMBERS_AT_ONCE = 2**21
ROWS_A_CELL = 8
LOW, HIGH = 2.5, 97.5


def of_cells(
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    counts: NDArray[np.int64],
    figures: Callable[[Values, Values, Values], Mapping[str, Values]],
    seed: int,
) -> Intervals:
    """Intervals of figures of a confusion matrix, whose cells are drawn anew: the same as drawing rows, in time that rows do not fill.

    Parameters
    ----------
    truth, predicted, counts : (cells,) int64
        The cells that are not 0, and how many rows each has.
    figures : from hits, support and claimed, (resamples, classes there) each, to named figures, (resamples,) each
    seed : of the draws
    """
    generator = np.random.default_rng(seed)
    classes = np.unique(np.concatenate([truth, predicted]))
    of_truth, of_predicted = (np.searchsorted(classes, codes) for codes in (truth, predicted))
    right = truth == predicted
    drawn = []
    for size in _pieces(RESAMPLES, max(len(counts), min(int(counts.sum()), ROWS_A_CELL * len(counts))) + 3 * len(classes)):
        cells = _cells_drawn(generator, counts, size)
        support, claimed = (_by_class(cells, codes, len(classes)) for codes in (of_truth, of_predicted))
        hits = np.zeros_like(support)
        hits[:, of_truth[right]] = cells[:, right]
        drawn.append(figures(hits, support, claimed))
    return _percentiles(drawn)


def _cells_drawn(generator: np.random.Generator, counts: NDArray[np.int64], size: int) -> Values:
    """As many rows as there are, drawn anew, by cell: (size, cells). Row by row where there are few in a cell, as that is faster."""
    rows = int(counts.sum())
    if rows > ROWS_A_CELL * len(counts):
        return generator.multinomial(rows, counts / rows, size).astype(np.float64)
    cell_of = np.repeat(np.arange(len(counts)), counts)
    picked = cell_of[generator.integers(0, rows, (size, rows))] + np.arange(size)[:, None] * len(counts)
    return np.bincount(picked.ravel(), minlength=size * len(counts)).reshape(size, -1).astype(np.float64)


def _by_class(cells: Values, codes: NDArray[np.int64], classes: int) -> Values:
    """Sums of (resamples, cells) over the cells of each class, (resamples, classes)."""
    order = np.argsort(codes, kind="stable")
    there, starts = np.unique(codes[order], return_index=True)
    sums = np.zeros((len(cells), classes))
    sums[:, there] = np.add.reduceat(cells[:, order], starts, axis=1)
    return sums


def of_rows(terms: NDArray[np.floating[Any]], figures: Callable[[Values], Mapping[str, Values]], seed: int) -> Intervals:
    """Intervals of figures that are functions of sums over rows.

    Parameters
    ----------
    terms : (n, terms) float32 or float64
        What is summed, in its own precision.
    figures : from (resamples, terms) sums to named figures, (resamples,) each
    seed : of the draws
    """
    generator, rows = np.random.default_rng(seed), len(terms)
    drawn = []
    for size in _pieces(int(np.clip(MOST_DRAWS // rows, FEWEST_RESAMPLES, RESAMPLES)), rows + terms.shape[1]):
        picked = generator.integers(0, rows, (size, rows)) + np.arange(size)[:, None] * rows
        times = np.bincount(picked.ravel(), minlength=size * rows).reshape(size, rows)
        drawn.append(figures((times.astype(terms.dtype) @ terms).astype(np.float64)))
    return _percentiles(drawn)


def _pieces(resamples: int, numbers: int) -> list[int]:
    """Sizes that add up to `resamples`, each of a bounded amount of memory at so many numbers a resample."""
    at_once = int(np.clip(NUMBERS_AT_ONCE // numbers, 1, resamples))
    whole, rest = divmod(resamples, at_once)
    return [at_once] * whole + [rest] * bool(rest)


def _percentiles(drawn: list[Mapping[str, Values]]) -> Intervals:
    """Of what is a number; a figure that never is has no interval."""
    found = {}
    for name in drawn[0]:
        values = np.concatenate([each[name] for each in drawn])
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.percentile(values, (LOW, HIGH))
            found[name] = (float(low), float(high))
    return found
