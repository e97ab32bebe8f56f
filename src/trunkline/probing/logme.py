"""LogME: how probable the labels are under a linear model of the features, with nothing trained."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 100  # it takes about ten
CONVERGED = 1e-6  # relative change of alpha / beta
MOST_PRECISE = 1e15  # beta where a class is fitted exactly: noise of float64's own resolution


def logme(features: NDArray[np.floating], labels: NDArray[np.integer], classes: int) -> float:
    """The log of the maximum evidence, an image, averaged over the classes; higher is better.

    K. You, Y. Liu, J. Wang, M. Long, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021, with the
    fixed point on singular values of "Ranking and Tuning Pre-trained Models", JMLR 2022. Indicators of a class, one against the rest,
    are taken for w·f plus noise, with w ~ N(0, 1/alpha) and noise ~ N(0, 1/beta); alpha and beta are those of the largest evidence.

    Parameters
    ----------
    features : (n, dim), as the network gives them: neither centred nor scaled, as in the paper. A common scale changes nothing.
    labels : (n,) from 0 to `classes` − 1.

    Returns
    -------
    float; NaN where every feature of every image is zero.
    """
    n, dim = features.shape
    u, values = _left_singular(features.astype(np.float64))
    if not len(values):
        return math.nan
    found = []
    for label in range(classes):
        y = (labels == label).astype(np.float64)
        z = np.square(u.T @ y)
        found.append(_evidence(z, max(float(y @ y - z.sum()), 0.0), values, n, dim) / n)
    return float(np.mean(found))


def _left_singular(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """U (n, r) and the squared singular values (r,) that are not zero, from the smaller of the two Gram matrices."""
    n, dim = features.shape
    if n <= dim:
        values, u = np.linalg.eigh(features @ features.T)
        there = values > values[-1] * n * np.finfo(np.float64).eps
        return u[:, there], values[there]
    values, v = np.linalg.eigh(features.T @ features)
    there = values > values[-1] * n * np.finfo(np.float64).eps
    return features @ (v[:, there] / np.sqrt(values[there])), values[there]


def _evidence(z: NDArray[np.float64], outside: float, values: NDArray[np.float64], n: int, dim: int) -> float:
    """The largest log evidence: `z` are squared projections on U (r,), `outside` what of |y|² no feature explains."""
    if z.sum() + outside == 0:  # nothing to explain: no image is of this class
        return 0.0
    ratio = 1.0  # alpha / beta
    alpha = beta = 1.0
    for _ in range(ITERATIONS):
        weights = (values * z / np.square(ratio + values)).sum()
        residual = (z / np.square(1.0 + values / ratio)).sum() + outside
        explained = (values / (values + ratio)).sum()
        alpha = explained / max(weights, np.finfo(np.float64).tiny)
        beta = min((n - explained) / max(residual, np.finfo(np.float64).tiny), MOST_PRECISE)
        before, ratio = ratio, alpha / beta
        if abs(ratio - before) <= CONVERGED * before:
            break
    weights = (values * z / np.square(ratio + values)).sum()
    residual = (z / np.square(1.0 + values / ratio)).sum() + outside
    determinant = np.log(alpha + beta * values).sum() + (dim - len(values)) * math.log(alpha)
    fitted = n * math.log(beta) + dim * math.log(alpha) - n * math.log(2.0 * math.pi)
    return float(0.5 * (fitted - beta * residual - alpha * weights - determinant))
