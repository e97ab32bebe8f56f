"""Parts that metrics of several kinds hold: intervals, a reliability diagram, a 2-D histogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.metrics.said import Said, count_of, counts_of, float_of, floats_of, mapping_of, number, numbers

Intervals = Mapping[str, tuple[float, float]]  # figure → lowest and highest value of its 95 % interval
BINS = 15
CELLS = 40


def intervals_to_json(intervals: Intervals) -> dict[str, list[float | None]]:
    return {name: [number(low), number(high)] for name, (low, high) in intervals.items()}


def intervals_of_json(said: Any) -> Intervals:
    """Raises ValueError for what is no mapping of names to pairs of numbers."""
    found = {name: floats_of(pair, f"intervals.{name}", 2) for name, pair in mapping_of(said, "intervals").items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def summary_of(
    targets: str, rows: int, headline: tuple[str, float], figures: Mapping[str, float | None], intervals: Intervals
) -> dict[str, Any]:
    """Kind of target, rows measured, headline as `measure` and `score`, figures and their intervals: plain JSON, NaN is null."""
    said = {name: None if value is None else number(value) for name, value in figures.items()}
    measure, score = headline
    about = {"targets": targets, "rows": rows, "measure": measure, "score": number(score)}
    return {**about, **said, "intervals": intervals_to_json(intervals)}


@dataclass(frozen=True)
class Reliability:
    """Of predictions by confidence, in bins of equal width over [0, 1]: how many, their mean confidence, their accuracy.

    `count` (bins,) int64; `confidence`, `accuracy` (bins,) float64, NaN where a bin is empty. No bins: nothing is known.
    """

    count: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    confidence: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    accuracy: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
        """From the confidence of each prediction, (n,) in [0, 1], and whether it was right. Bins are open to the left: (0, 1/15], …"""
        bins = np.clip(np.searchsorted(np.linspace(0, 1, BINS + 1), confidence, side="left") - 1, 0, BINS - 1)
        count = np.bincount(bins, minlength=BINS)
        sums = (np.bincount(bins, weights, BINS) for weights in (confidence, right.astype(np.float64)))
        mean = [np.where(count > 0, total / np.maximum(count, 1), np.nan) for total in sums]
        return cls(count.astype(np.int64), *mean)

    @property
    def ece(self) -> float:
        """Expected calibration error: |accuracy − confidence|, averaged over predictions.

        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
        """
        if not self.count.sum():
            return float("nan")
        there = self.count > 0
        gaps = np.abs(self.accuracy[there] - self.confidence[there])
        return float((self.count[there] * gaps).sum() / self.count.sum())

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count.tolist(), "confidence": numbers(self.confidence), "accuracy": numbers(self.accuracy)}

    @classmethod
    def of_json(cls, said: Any) -> Reliability:
        """Raises KeyError or ValueError."""
        said = mapping_of(said, "reliability")
        count = counts_of(said["count"], "reliability.count")
        confidence, accuracy = (floats_of(said[name], f"reliability.{name}", len(count)) for name in ("confidence", "accuracy"))
        return cls(count, confidence, accuracy)


@dataclass(frozen=True)
class Grid:
    """How often truth and prediction fell together: `counts` (cells, cells) int64, rows the truth, both over [low, high]."""

    counts: NDArray[np.int64]
    low: float
    high: float

    @classmethod
    def of(cls, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Grid:
        """From (n,) values each."""
        low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
        scale = CELLS / (high - low) if high > low else 0.0
        rows, columns = (np.clip(((values - low) * scale).astype(np.int64), 0, CELLS - 1) for values in (truth, predicted))
        counts = np.bincount(rows * CELLS + columns, minlength=CELLS**2)
        return cls(counts.reshape(CELLS, CELLS).astype(np.int64), low, high)

    def to_json(self) -> dict[str, Any]:
        rows, columns = np.nonzero(self.counts)
        cells = [rows.tolist(), columns.tolist(), self.counts[rows, columns].tolist()]
        return {"cells": len(self.counts), "low": number(self.low), "high": number(self.high), "filled": cells}

    @classmethod
    def of_json(cls, said: Said) -> Grid:
        """Raises KeyError or ValueError."""
        cells = count_of(said["cells"], "grid.cells")
        if cells > 1000:
            raise ValueError(f"grid.cells is {cells}, more than a plot has")
        counts = sparse_of(said["filled"], "grid.filled", cells)
        return cls(counts, float_of(said["low"], "grid.low"), float_of(said["high"], "grid.high"))


def sparse_of(said: Any, name: str, size: int) -> NDArray[np.int64]:
    """(size, size) int64 from rows, columns and counts of the cells that are not 0. Raises ValueError."""
    if not isinstance(said, list) or len(said) != 3:
        raise ValueError(f"{name} is not rows, columns and counts")
    rows = counts_of(said[0], name)
    columns, counts = (counts_of(values, name, len(rows)) for values in said[1:])
    if len(rows) and max(rows.max(), columns.max()) >= size:
        raise ValueError(f"{name} names a cell beyond {size}")
    dense = np.zeros((size, size), np.int64)
    dense[rows, columns] = counts
    return dense
