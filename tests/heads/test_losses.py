"""Losses: values as scikit-learn has them, derivatives as finite differences do, many fits as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from trunkline.heads.losses import LOSSES, softmax

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(12, 3, 4)).astype(np.float32)
TRUTH = {
    "softmax": np.eye(4, dtype=np.float32)[RNG.integers(0, 4, 12)],
    "logistic": RNG.integers(0, 2, (12, 4)).astype(np.float32),
    "squared_hinge": RNG.integers(0, 2, (12, 4)).astype(np.float32),
    "squared": RNG.normal(size=(12, 4)).astype(np.float32),
}
WEIGHTS = {name: None if name == "softmax" else RNG.uniform(0.5, 2.0, (12, 4)).astype(np.float32) for name in LOSSES}


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_are_those_of_finite_differences(name):
    derivatives = SCORES.copy()
    LOSSES[name](derivatives, TRUTH[name], WEIGHTS[name])
    step = 1e-2
    for output in range(4):
        up, down = SCORES.copy(), SCORES.copy()
        up[..., output] += step
        down[..., output] -= step
        slope = (LOSSES[name](up, TRUTH[name], WEIGHTS[name]) - LOSSES[name](down, TRUTH[name], WEIGHTS[name])) / (2 * step)
        np.testing.assert_allclose(derivatives[..., output], slope, atol=2e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_many_fits_are_each_as_if_alone(name):
    together = SCORES.copy()
    losses = LOSSES[name](together, TRUTH[name], WEIGHTS[name])
    for fit in range(3):
        alone = SCORES[:, fit : fit + 1].copy()
        np.testing.assert_array_equal(LOSSES[name](alone, TRUTH[name], WEIGHTS[name])[:, 0], losses[:, fit])
        np.testing.assert_array_equal(alone[:, 0], together[:, fit])


def test_the_softmax_loss_is_scikit_learns_log_loss():
    scores = SCORES.copy()
    losses = softmax(scores, TRUTH["softmax"])
    probabilities = scores[:, 1] + TRUTH["softmax"]
    probabilities = probabilities.astype(np.float64) / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    assert losses[:, 1].mean() == pytest.approx(log_loss(TRUTH["softmax"], probabilities), rel=1e-5)


def test_huge_scores_overflow_nowhere():
    for name in LOSSES:
        scores = np.array([[[1e4, -1e4, 0.0, 5.0]]], np.float32)
        truth = np.array([[0.0, 1.0, 0.0, 0.0]], np.float32)
        assert np.isfinite(LOSSES[name](scores, truth, None)).all()
        assert np.isfinite(scores).all()
