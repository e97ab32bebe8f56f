"""Metrics of a classifier on a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Metrics:
    """Of n rows and k classes: `confusion` (k, k) int64, rows are the truth; precision, recall, f1 (k,) float64; support (k,) int64.

    `macro_f1` averages over the classes that occur as truth or prediction, as scikit-learn does.
    """

    accuracy: float
    macro_f1: float
    confusion: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> Metrics:
        """From lists, as `head.json` holds them. Raises KeyError or ValueError where something is missing or odd."""
        precision, recall, f1 = (np.array(said[name], np.float64) for name in ("precision", "recall", "f1"))
        confusion, support = (np.array(said[name], np.int64) for name in ("confusion", "support"))
        return cls(float(said["accuracy"]), float(said["macro_f1"]), confusion, precision, recall, f1, support)

    @classmethod
    def of(cls, truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Metrics:
        """From class numbers, (n,) each."""
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (truth, predicted), 1)
        hits, support, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
        present = (support + claimed) > 0
        precision = hits / np.maximum(claimed, 1)
        recall = hits / np.maximum(support, 1)
        f1 = 2.0 * hits / np.maximum(support + claimed, 1)
        return cls(float(hits.sum() / max(len(truth), 1)), float(f1[present].mean()), confusion, precision, recall, f1, support)
