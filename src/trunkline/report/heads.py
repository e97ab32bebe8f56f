"""What the page says of heads: figures with intervals, candidates, classes and labels, confusions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.protocol import Candidate
from trunkline.metrics import Metrics, MultilabelMetrics
from trunkline.report import charts
from trunkline.report.data import HeadResult

MOST_CELLS = 25  # classes a confusion matrix is written out for; above, it is painted
MOST_PAINTED = 1_500
MOST_CONFUSIONS = 10


def best_first(heads: Sequence[HeadResult]) -> list[HeadResult]:
    """Order heads by their headline, then accuracy, best first; heads whose headline is NaN come last."""

    def worse(head: HeadResult) -> tuple[bool, float, float]:
        _, value = head.headline
        return math.isnan(value), -value, -(head.metrics.figures.get("accuracy") or 0.0)

    return sorted(heads, key=worse)


@dataclass(frozen=True)
class Shown:
    """A figure of a head, and its interval; None where it is not known."""

    name: str
    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Line:
    """Where a headline and its interval lie on a line from `floor` to 1, as shares of the line; None where they are not known."""

    at: float | None
    left: float | None
    width: float | None


def figures_of(head: HeadResult, names: Sequence[str]) -> list[Shown]:
    """Of a head, in this order; what its kind of target does not have is not known."""
    found = head.metrics
    return [Shown(name, found.figures.get(name), found.intervals.get(name)) for name in names]


def floor_of(heads: Sequence[HeadResult]) -> float:
    """Where the lines of all headlines begin: a tenth that lies below every interval, 0 at least."""
    values = [value for head in heads for value in (head.headline[1], *_interval(head)) if math.isfinite(value)]
    return min(max(math.floor(10 * min(values, default=0.0)) / 10, 0.0), 0.9)


def line_of(head: HeadResult, floor: float) -> Line:
    """The headline of a head on the line that begins there."""

    def on_line(value: float) -> float | None:
        return min(max((value - floor) / (1 - floor), 0.0), 1.0) if math.isfinite(value) else None

    low, high = (on_line(value) for value in _interval(head))
    return Line(on_line(head.headline[1]), low, None if low is None or high is None else high - low)


def _interval(head: HeadResult) -> tuple[float, float]:
    """Of the headline, which is the first of the figures; NaN where there is none."""
    return head.metrics.intervals.get(next(iter(head.metrics.figures)), (math.nan, math.nan))


def columns_of(heads: Sequence[HeadResult]) -> list[str]:
    """The figures that any of these heads has, in the order to show them."""
    return list(dict.fromkeys(name for head in heads for name, value in head.metrics.figures.items() if value is not None))


def is_chosen(candidate: Candidate, head: HeadResult) -> bool:
    """Marked, or, where none is, found again in what the head says was chosen."""
    if any(each.chosen for each in head.candidates):
        return candidate.chosen
    return bool(candidate.settings) and candidate.settings.items() <= head.chosen.items()


def settings_of(head: HeadResult) -> list[str]:
    """Names of all settings that candidates differ in, in the order in which they come."""
    return list(dict.fromkeys(name for candidate in head.candidates for name in candidate.settings))


@dataclass(frozen=True)
class ClassRow:
    """A class or label, and how well it is found."""

    name: str
    f1: float
    precision: float
    recall: float
    support: int


def weakest_first(head: HeadResult) -> list[ClassRow]:
    """Classes or labels by F1; a regression has none."""
    found = head.metrics
    if not isinstance(found, Metrics | MultilabelMetrics):
        return []
    return [
        ClassRow(head.classes[i], float(found.f1[i]), float(found.precision[i]), float(found.recall[i]), int(found.support[i]))
        for i in np.argsort(found.f1, kind="stable").tolist()
    ]


def matrix(confusion: NDArray[np.int64]) -> list[list[charts.Cell]] | str | None:
    """Cells, or a picture of so many that they cannot be read; None for so many that they cannot be seen either."""
    if len(confusion) > MOST_PAINTED:
        return None
    return charts.confusion_image(confusion) if len(confusion) > MOST_CELLS else charts.confusion_cells(confusion)


@dataclass(frozen=True)
class Confusion:
    """How often one class was taken for another, and what share of its test images that is."""

    truth: str
    predicted: str
    times: int
    share: float


def confusions(classes: Sequence[str], confusion: NDArray[np.int64]) -> list[Confusion]:
    """Find the most frequent confusions, at most `MOST_CONFUSIONS`."""
    rows, columns = np.nonzero(confusion)
    times = confusion[rows, columns]
    order = np.lexsort((columns, rows, -times))
    wrong = [i for i in order if rows[i] != columns[i]][:MOST_CONFUSIONS]
    seen = confusion.sum(axis=1)
    return [Confusion(classes[rows[i]], classes[columns[i]], int(times[i]), float(times[i] / seen[rows[i]])) for i in wrong]
