"""Metrics of a head that says of each label by itself whether an image has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trunkline.metrics import bootstrap
from trunkline.metrics.parts import Intervals, intervals_of_json, summary_of
from trunkline.metrics.said import Said, count_of, counts_of, float_of, floats_of, numbers

Values = NDArray[np.float64]
PREDICTED_FROM = 0.5


@dataclass(frozen=True)
class MultilabelMetrics:
    """Of `rows` rows and k labels, each predicted where its probability is at least 0.5.

    `precision`, `recall`, `f1` (k,) float64 and `support` (k,) int64 are of each label; `macro_f1` averages f1 over the labels that
    occur as truth or prediction (scikit-learn's with `zero_division=nan`), `micro_f1` is of all decisions together, `subset_accuracy` the
    share of rows without a wrong decision. `log_loss` is the mean over rows and labels.
    """

    macro_f1: float
    micro_f1: float
    subset_accuracy: float
    precision: Values
    recall: Values
    f1: Values
    support: NDArray[np.int64]
    log_loss: float
    rows: int
    intervals: Intervals = field(default_factory=dict)

    targets: ClassVar[str] = "multilabel"

    @classmethod
    def of(cls, truth: NDArray[Any], probabilities: Values, seed: int = 0) -> MultilabelMetrics:
        """From (n, k) truth of 0 and 1, and independent probabilities, (n, k)."""
        true, predicted = truth.astype(bool), probabilities >= PREDICTED_FROM
        right = (true == predicted).all(axis=1)
        terms = np.hstack([true & predicted, true, predicted, right[:, None]])
        exact = np.float32 if len(true) < 2**24 else np.float64  # for counts
        sums = terms.sum(axis=0, dtype=np.float64)
        hits, support, claimed = np.split(sums[:-1], 3)
        least = np.finfo(np.float64).eps
        own = np.clip(np.where(true, probabilities, 1 - probabilities), least, 1 - least)
        return cls(
            **{name: float(value[0]) for name, value in _figures(sums[None], len(true)).items()},
            precision=hits / np.maximum(claimed, 1),
            recall=hits / np.maximum(support, 1),
            f1=2 * hits / np.maximum(support + claimed, 1),
            support=support.astype(np.int64),
            log_loss=float(-np.log(own).mean()),
            rows=len(true),
            intervals=bootstrap.of_rows(terms.astype(exact), lambda drawn: _figures(drawn, len(true)), seed),
        )

    @property
    def headline(self) -> tuple[str, float]:
        """The figure that heads are compared by, higher is better: what it is called, and its value."""
        return "macro-F1", self.macro_f1

    @property
    def figures(self) -> Mapping[str, float | None]:
        """Each figure by its field's name, in the order to show them, the headline's first."""
        return {name: getattr(self, name) for name in ("macro_f1", "micro_f1", "subset_accuracy", "log_loss")}

    def summary(self) -> dict[str, Any]:
        """What fits into a line: figures and intervals as plain JSON."""
        return summary_of(self.targets, self.rows, self.headline, self.figures, self.intervals)

    def to_json(self) -> dict[str, Any]:
        arrays = {name: numbers(getattr(self, name)) for name in ("precision", "recall", "f1")}
        return {**self.summary(), **arrays, "support": self.support.tolist()}

    @classmethod
    def of_json(cls, said: Said) -> MultilabelMetrics:
        """Raises KeyError or ValueError where something is missing or odd."""
        support = counts_of(said["support"], "support")
        precision, recall, f1 = (floats_of(said[name], name, len(support)) for name in ("precision", "recall", "f1"))
        return cls(
            macro_f1=float_of(said["macro_f1"], "macro_f1"),
            micro_f1=float_of(said["micro_f1"], "micro_f1"),
            subset_accuracy=float_of(said["subset_accuracy"], "subset_accuracy"),
            precision=precision,
            recall=recall,
            f1=f1,
            support=support,
            log_loss=float_of(said["log_loss"], "log_loss"),
            rows=count_of(said["rows"], "rows"),
            intervals=intervals_of_json(said.get("intervals", {})),
        )


def _figures(sums: Values, rows: int) -> dict[str, Values]:
    """From (resamples, 3 k + 1) sums of hits, support, claimed and rows that are right."""
    hits, support, claimed = np.split(sums[:, :-1], 3, axis=1)
    decided = support + claimed
    f1 = 2 * hits / np.maximum(decided, 1)
    occurring, all_decided = (decided > 0).sum(axis=1), decided.sum(axis=1)
    return {
        "macro_f1": np.where(occurring > 0, f1.sum(axis=1) / np.maximum(occurring, 1), np.nan),
        "micro_f1": np.where(all_decided > 0, 2 * hits.sum(axis=1) / np.maximum(all_decided, 1), np.nan),
        "subset_accuracy": sums[:, -1] / rows,
    }
