"""H-score beside its definition, written out class by class, and beside scikit-learn's covariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage

from tests.probing.test_logme import made
from trunkline.probing.h_score import h_score, ledoit_wolf


def slow_h_score(features: np.ndarray, labels: np.ndarray, covariance: np.ndarray) -> float:
    """The trace, with the covariance of class means summed image by image."""
    centred = features - features.mean(axis=0)
    between = np.zeros((features.shape[1],) * 2)
    for label in labels:
        mean = centred[labels == label].mean(axis=0)
        between += np.outer(mean, mean) / len(labels)
    return float(np.trace(np.linalg.pinv(covariance) @ between))


def test_plain_is_the_paper_s():
    features, labels = made(80, 6, 3, 0.7)
    covariance = np.cov(features, rowvar=False, bias=True)
    assert h_score(features, labels, 3, shrinkage=0.0) == pytest.approx(slow_h_score(features, labels, covariance))


@pytest.mark.parametrize(("n", "dim"), [(80, 6), (40, 90)])
def test_shrunk_is_the_paper_s_with_ledoit_and_wolf_s_covariance(n: int, dim: int):
    features, labels = made(n, dim, 3, 0.7)
    share = ledoit_wolf_shrinkage(features)
    assert 0 < share < 1
    expected = (1 - share) * slow_h_score(features, labels, LedoitWolf().fit(features).covariance_)
    assert h_score(features, labels, 3) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "dim"), [(80, 6), (40, 90), (5, 2), (300, 20)])
def test_the_share_is_scikit_learn_s(n: int, dim: int):
    features, _ = made(n, dim, 3, 0.7, seed=n)
    centred = features - features.mean(axis=0)
    assert ledoit_wolf(centred, centred.T @ centred / n) == pytest.approx(ledoit_wolf_shrinkage(features))


def test_features_that_are_the_class_reach_classes_minus_one():
    labels = np.arange(40) % 4
    assert h_score(np.eye(4)[labels], labels, 4, shrinkage=0.0) == pytest.approx(3.0)


def test_features_that_know_nothing_are_near_zero():
    labels = np.repeat([0, 1], 50)
    features = np.tile(np.random.default_rng(0).normal(size=(50, 3)), (2, 1))  # both classes have the same images
    assert h_score(features, labels, 2) == pytest.approx(0.0, abs=1e-12)


def test_width_alone_does_not_raise_it():
    """Of random features the plain score grows with their number; the shrunk one stays far below what separated classes have."""
    random, labels = np.random.default_rng(0), np.arange(100) % 4
    noise = random.normal(size=(100, 90))
    assert h_score(noise, labels, 4, shrinkage=0.0) > 2.0
    assert h_score(noise, labels, 4) < 0.5
    assert h_score(*made(100, 90, 4, 1.0), 4) > 1.0


def test_a_class_without_images_counts_for_nothing():
    features, labels = made(60, 5, 3, 1.0)
    assert h_score(features, labels, 5) == pytest.approx(h_score(features, labels, 3))


def test_features_that_never_vary_are_no_score():
    assert math.isnan(h_score(np.ones((10, 3), np.float32), np.arange(10) % 2, 2))
