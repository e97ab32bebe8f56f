"""Scores of held-out rows from sums, so that blocks add up: macro-F1 from counts a class, R² from squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.targets import Target, Truth

Counts = NDArray[np.float64]


def counted(target: Target, truth: Truth, outputs: NDArray[np.float64]) -> Counts:
    """Of (n, k) outputs: (3, k) hits, claims and support a class or label; of a regression (4, 1): n, sum, squares, squared errors."""
    if target.kind == "regression":
        t, error = truth.reshape(-1), truth.reshape(-1) - outputs[:, 0]
        return np.array([[len(t)], [t.sum()], [np.square(t).sum()], [np.square(error).sum()]], np.float64)
    if target.kind == "classes":
        claimed = outputs.argmax(axis=1)
        hit = claimed[claimed == truth]
        counts = [np.bincount(each, minlength=target.outputs) for each in (hit, claimed, truth)]
        return np.array(counts, np.float64)
    claims = outputs >= 0.5
    return np.array([(claims & (truth > 0)).sum(axis=0), claims.sum(axis=0), truth.sum(axis=0)], np.float64)


def score_of(target: Target, counts: Counts) -> float:
    """Macro-F1 over the classes that occur as truth or claim, as scikit-learn takes it; or R²."""
    if target.kind == "regression":
        n, total, squares, errors = counts[:, 0]
        spread = squares - total * total / max(n, 1.0)
        return float(1.0 - errors / spread) if spread > 0 else float("nan")
    hits, claims, support = counts
    present = (claims + support) > 0
    return float((2.0 * hits[present] / (claims + support)[present]).mean()) if present.any() else float("nan")
