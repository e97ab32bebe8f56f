"""Metrics of a classifier on a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trunkline.metrics import bootstrap
from trunkline.metrics.parts import Intervals, Reliability, intervals_of_json, sparse_of, summary_of
from trunkline.metrics.said import Said, count_of, counts_of, float_of, floats_of, numbers

Values = NDArray[np.float64]
NAN = float("nan")
MOST_DENSE = 200  # classes whose confusion is written as rows of numbers; above, only what is not 0
TOP = 5


@dataclass(frozen=True)
class Metrics:
    """Of n rows and k classes: `confusion` (k, k) int64, rows are the truth; precision, recall, f1 (k,) float64; support (k,) int64.

    `macro_f1` averages over the classes that occur as truth or prediction, `balanced_accuracy` over those that occur as truth,
    `weighted_f1` by support, all as scikit-learn does. `top5` is None where there are five classes or fewer. `log_loss`, `ece`,
    `top5` and `reliability` need probabilities: NaN, None and empty where only predictions were known.
    """

    accuracy: float
    macro_f1: float
    confusion: NDArray[np.int64]
    precision: Values
    recall: Values
    f1: Values
    support: NDArray[np.int64]
    balanced_accuracy: float = NAN
    weighted_f1: float = NAN
    top5: float | None = None
    log_loss: float = NAN
    ece: float = NAN
    reliability: Reliability = field(default_factory=Reliability)
    intervals: Intervals = field(default_factory=dict)

    targets: ClassVar[str] = "classes"

    @classmethod
    def of(cls, truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, seed: int = 0) -> Metrics:
        """From class numbers, (n,) each: what needs no probabilities."""
        cells, counts = np.unique(truth * classes + predicted, return_counts=True)
        confusion = np.zeros((classes, classes), np.int64)  # pages that nothing is written to take no memory
        confusion.flat[cells] = counts
        hits = confusion.diagonal().astype(np.int64)
        support, claimed = (np.bincount(codes, minlength=classes).astype(np.int64) for codes in (truth, predicted))
        figures = figures_of(hits, support, claimed)
        intervals = bootstrap.of_cells(cells // classes, cells % classes, counts, figures_of, seed)
        precision, recall = hits / np.maximum(claimed, 1), hits / np.maximum(support, 1)
        return cls(
            accuracy=float(figures["accuracy"]),
            macro_f1=float(figures["macro_f1"]),
            balanced_accuracy=float(figures["balanced_accuracy"]),
            weighted_f1=float(figures["weighted_f1"]),
            confusion=confusion,
            precision=precision,
            recall=recall,
            f1=_f1(hits, support, claimed),
            support=support,
            intervals=intervals,
        )

    @property
    def rows(self) -> int:
        return int(self.support.sum())

    @property
    def headline(self) -> tuple[str, float]:
        """The figure that heads are compared by, higher is better: what it is called, and its value."""
        return "macro-F1", self.macro_f1

    @property
    def figures(self) -> Mapping[str, float | None]:
        """Each figure by its field's name, in the order to show them, the headline's first."""
        names = ("macro_f1", "accuracy", "balanced_accuracy", "weighted_f1", "top5", "log_loss", "ece")
        return {name: getattr(self, name) for name in names}

    def summary(self) -> dict[str, Any]:
        """What fits into a line: figures and intervals as plain JSON."""
        return summary_of(self.targets, self.rows, self.headline, self.figures, self.intervals)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; above 200 classes the confusion holds only the cells that are not 0."""
        return {
            **self.summary(),
            **{name: numbers(getattr(self, name)) for name in ("precision", "recall", "f1")},
            "support": self.support.tolist(),
            "confusion": _confusion_to_json(self.confusion),
            "reliability": self.reliability.to_json(),
        }

    @classmethod
    def of_json(cls, said: Said) -> Metrics:
        """From what `head.json` holds; one written before there were more figures lacks them. Raises KeyError or ValueError."""
        precision = floats_of(said["precision"], "precision")
        classes = len(precision)
        more = ("balanced_accuracy", "weighted_f1", "log_loss", "ece")
        return cls(
            accuracy=float_of(said["accuracy"], "accuracy"),
            macro_f1=float_of(said["macro_f1"], "macro_f1"),
            confusion=_confusion_of_json(said["confusion"], classes),
            precision=precision,
            recall=floats_of(said["recall"], "recall", classes),
            f1=floats_of(said["f1"], "f1", classes),
            support=counts_of(said["support"], "support", classes),
            **{name: float_of(said.get(name), name) for name in more},
            top5=None if said.get("top5") is None else float_of(said["top5"], "top5"),
            reliability=Reliability.of_json(said["reliability"]) if "reliability" in said else Reliability(),
            intervals=intervals_of_json(said.get("intervals", {})),
        )


def figures_of(hits: NDArray[Any], support: NDArray[Any], claimed: NDArray[Any]) -> dict[str, Values]:
    """From counts by class, (…, k) each, the figures that predictions alone give, (…) each."""
    there, occurring = support > 0, (support + claimed) > 0
    f1, recall = _f1(hits, support, claimed), hits / np.maximum(support, 1)
    rows = np.maximum(support.sum(axis=-1), 1)
    return {
        "accuracy": hits.sum(axis=-1) / rows,
        "balanced_accuracy": recall.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1),
        "macro_f1": f1.sum(axis=-1) / np.maximum(occurring.sum(axis=-1), 1),
        "weighted_f1": (f1 * support).sum(axis=-1) / rows,
    }


def top_accuracy(truth: NDArray[np.int64], probabilities: Values, among: int = TOP) -> float | None:
    """Share of rows whose class is among the most probable; None where there are no more classes. Of equal ones the later counts first."""
    if probabilities.shape[1] <= among:
        return None
    own = np.take_along_axis(probabilities, truth[:, None], axis=1)
    later = np.arange(probabilities.shape[1]) > truth[:, None]
    ahead = ((probabilities > own) | ((probabilities == own) & later)).sum(axis=1)
    return float((ahead < among).mean())


def log_loss(truth: NDArray[np.int64], probabilities: Values) -> float:
    """Mean of −log of the true class's probability, kept away from 0 and 1 by float64's resolution as scikit-learn does."""
    least = np.finfo(np.float64).eps
    own = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0]
    return float(-np.log(np.clip(own, least, 1 - least)).mean())


def _f1(hits: NDArray[Any], support: NDArray[Any], claimed: NDArray[Any]) -> Values:
    f1: Values = 2.0 * hits / np.maximum(support + claimed, 1)
    return f1


def _confusion_to_json(confusion: NDArray[np.int64]) -> Any:
    if len(confusion) <= MOST_DENSE:
        return confusion.tolist()
    rows, columns = np.nonzero(confusion)
    return {"classes": len(confusion), "filled": [rows.tolist(), columns.tolist(), confusion[rows, columns].tolist()]}


def _confusion_of_json(said: Any, classes: int) -> NDArray[np.int64]:
    if isinstance(said, dict):
        if count_of(said["classes"], "confusion.classes") != classes:
            raise ValueError(f"confusion is of {said['classes']} classes and not of {classes}")
        return sparse_of(said["filled"], "confusion", classes)
    if not isinstance(said, list) or len(said) != classes:
        raise ValueError(f"confusion has not the {classes} rows of its classes")
    rows = [counts_of(row, "confusion", classes) for row in said]
    return np.array(rows, np.int64).reshape(classes, classes)
