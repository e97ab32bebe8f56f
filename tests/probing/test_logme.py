"""LogME beside the marginal likelihood that it maximises, written out as a Gaussian over all images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from trunkline.probing.logme import logme


def log_evidence(features: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> float:
    """Y ~ N(0, F Fᵀ / alpha + I / beta): nothing of the fixed point or of singular values is in it."""
    covariance = features @ features.T / alpha + np.eye(len(y)) / beta
    return float(multivariate_normal(np.zeros(len(y)), covariance).logpdf(y))


def slow_logme(features: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """The largest evidence of each class by a general minimiser from several starts."""
    found = []
    for label in range(classes):
        y = (labels == label).astype(float)

        def loss(logs: np.ndarray, y: np.ndarray = y) -> float:
            return -log_evidence(features, y, *np.exp(logs))

        tried = [
            minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}) for start in ((0, 0), (3, 2))
        ]
        found.append(-min(each.fun for each in tried) / len(y))
    return float(np.mean(found))


def made(n: int, dim: int, classes: int, separation: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds around random centres."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return random.normal(size=(n, dim)) + separation * random.normal(size=(classes, dim))[labels], labels


@pytest.mark.parametrize(("n", "dim"), [(60, 5), (40, 80)], ids=["more images", "more features"])
@pytest.mark.parametrize("separation", [0.3, 1.0])
def test_it_is_the_largest_evidence(n: int, dim: int, separation: float):
    features, labels = made(n, dim, 3, separation)
    assert logme(features, labels, 3) == pytest.approx(slow_logme(features, labels, 3), abs=1e-5)


def test_features_that_say_the_class_score_higher():
    scores = [logme(*made(120, 10, 4, separation), 4) for separation in (0.0, 0.5, 1.0, 3.0)]
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 0.5


def test_a_common_scale_changes_nothing():
    features, labels = made(60, 7, 3, 1.0)
    assert logme(1000.0 * features, labels, 3) == pytest.approx(logme(features, labels, 3), abs=1e-6)


def test_one_feature_that_never_varies_is_as_a_mean_alone():
    """Known by hand: y = w + noise, with the evidence of a constant feature maximised over both precisions."""
    features, labels = np.ones((50, 1)), np.arange(50) % 2
    assert logme(features, labels, 2) == pytest.approx(slow_logme(features, labels, 2), abs=1e-5)


def test_features_that_fit_exactly_end_in_a_number():
    labels = np.arange(20) % 2
    features = np.stack([labels == 0, labels == 1], axis=1).astype(np.float32)
    assert math.isfinite(logme(features, labels, 2))
    assert logme(features, labels, 2) > logme(*made(20, 2, 2, 1.0), 2)


def test_dead_features_say_nothing():
    assert math.isnan(logme(np.zeros((10, 4), np.float32), np.arange(10) % 2, 2))
    features, labels = made(60, 5, 3, 1.0)
    with_dead = np.hstack([features, np.zeros((60, 3))])
    assert logme(with_dead, labels, 3) == pytest.approx(logme(features, labels, 3), abs=1e-6)
