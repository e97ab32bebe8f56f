"""Losses of linear scores: value and gradient by score, of many fits at once.

`scores` is (n, p, k) float32 of p fits; every function gives the loss of each row and fit, (n, p) float64, and leaves the derivatives
by score in `scores`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Loss = Literal["softmax", "logistic", "squared_hinge", "squared"]
Scores = NDArray[np.float32]
Truth = NDArray[np.float32]
RowLosses = NDArray[np.float64]
Weights = NDArray[np.float32] | None  # (n, k), of rows and labels


def softmax(scores: Scores, truth: Truth, _weights: Weights = None) -> RowLosses:
    """Log loss of the softmax; `truth` (n, k) holds a single 1 a row. Labels have no weights of their own."""
    highest = scores.max(axis=2, keepdims=True)
    true = np.einsum("npk,nk->np", scores, truth).astype(np.float64)
    scores -= highest
    np.exp(scores, out=scores)
    total = scores.sum(axis=2, keepdims=True)
    losses = np.log(total[..., 0].astype(np.float64)) + highest[..., 0] - true
    scores /= total
    scores -= truth[:, None, :]
    return np.asarray(losses)


def logistic(scores: Scores, truth: Truth, weights: Weights = None) -> RowLosses:
    """Log loss of each label's sigmoid; `truth` (n, k) holds 0 and 1."""
    terms = np.logaddexp(np.float32(0.0), scores) - scores * truth[:, None, :]
    np.tanh(np.float32(0.5) * scores, out=scores)
    scores += 1.0
    scores *= 0.5
    scores -= truth[:, None, :]
    return _summed(terms, scores, weights)


def squared_hinge(scores: Scores, truth: Truth, weights: Weights = None) -> RowLosses:
    """max(0, 1 − y s)² with y = ±1, each class or label against the rest."""
    sign = (2.0 * truth - 1.0)[:, None, :]
    scores *= sign
    np.subtract(np.float32(1.0), scores, out=scores)
    np.maximum(scores, np.float32(0.0), out=scores)
    terms = np.square(scores)
    scores *= -2.0 * sign
    return _summed(terms, scores, weights)


def squared(scores: Scores, truth: Truth, weights: Weights = None) -> RowLosses:
    """(s − t)² of each output."""
    scores -= truth[:, None, :]
    terms = np.square(scores)
    scores *= 2.0
    return _summed(terms, scores, weights)


def _summed(terms: Scores, derivatives: Scores, weights: Weights) -> RowLosses:
    if weights is not None:
        terms *= weights[:, None, :]
        derivatives *= weights[:, None, :]
    return np.asarray(terms.sum(axis=2, dtype=np.float64))


LOSSES: dict[Loss, Callable[[Scores, Truth, Weights], RowLosses]] = {
    "softmax": softmax,
    "logistic": logistic,
    "squared_hinge": squared_hinge,
    "squared": squared,
}
