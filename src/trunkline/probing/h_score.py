"""H-score: how much of the features' variance lies between the classes, with nothing trained."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def h_score(features: NDArray[np.floating], labels: NDArray[np.integer], classes: int, shrinkage: float | None = None) -> float:
    """The trace of inv(cov(f)) · cov(E[f | class]), with a shrunk covariance; higher is better, at most `classes` − 1.

    Y. Bao et al., "An Information-Theoretic Approach to Transferability in Task Transfer Learning", ICIP 2019. Of a sample that is not
    much larger than the features are wide, the plain score says little more than the width; S. Ibrahim, N. Ponomareva, R. Mazumder,
    "Newer is not always better", ECML PKDD 2022, shrink the covariance towards a multiple of the identity as Ledoit and Wolf do, and
    the classes' means by the same share.

    Parameters
    ----------
    features : (n, dim).
    labels : (n,) from 0 to `classes` − 1.
    shrinkage : share of the identity; `ledoit_wolf` of the features by default. 0 is the plain H-score, by the pseudo-inverse.

    Returns
    -------
    float; NaN where no feature varies.
    """
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    counts = np.bincount(labels, minlength=classes)
    sums = np.zeros((classes, centred.shape[1]))
    np.add.at(sums, labels, centred)
    there = counts > 0
    means = sums[there] / np.sqrt(counts[there] * len(centred))[:, None]  # means.T @ means is the covariance of class means
    covariance = centred.T @ centred / len(centred)
    scale = float(np.trace(covariance)) / len(covariance)
    if scale <= 0:
        return math.nan
    share = ledoit_wolf(centred, covariance) if shrinkage is None else shrinkage
    if share == 0:
        return float((means @ np.linalg.pinv(covariance, hermitian=True) * means).sum())
    shrunk = (1.0 - share) * covariance
    shrunk.flat[:: len(shrunk) + 1] += share * scale
    return (1.0 - share) * float((means * np.linalg.solve(shrunk, means.T).T).sum())


def ledoit_wolf(centred: NDArray[np.float64], covariance: NDArray[np.float64]) -> float:
    """The share of the identity that estimates the covariance best, from 0 to 1.

    O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004.

    Parameters
    ----------
    centred : (n, dim) float64 with means of zero.
    covariance : (dim, dim), centred.T @ centred / n.
    """
    n, dim = centred.shape
    scale = np.trace(covariance) / dim
    squared = float(np.square(covariance).sum())
    distance = squared - dim * scale * scale
    norms = np.square(centred).sum(axis=1)
    error = (float(np.square(norms).sum()) / n - squared) / n
    return 1.0 if distance <= 0 else float(min(max(error / distance, 0.0), 1.0))
