"""Calibration by hand, and intervals against rows drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from tests.metrics.test_classes import outputs_of
from trunkline.metrics import Reliability, measure


def test_bins_and_calibration_error_by_hand():
    confidence = np.array([0.5, 0.55, 0.95, 1.0, 1 / 15])
    found = Reliability.of(confidence, np.array([True, False, True, True, False]))
    assert found.count.tolist() == [1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 2]
    assert found.confidence[14] == pytest.approx(0.975)
    assert found.accuracy[[0, 7, 8, 14]].tolist() == [0, 1, 0, 1]
    assert np.isnan(found.accuracy[1])
    assert found.ece == pytest.approx((1 / 15 + 0.5 + 0.55 + 2 * 0.025) / 5)


def test_the_calibration_error_is_the_definition():
    truth, outputs = outputs_of(1000, 8)
    confidence, right = outputs.max(axis=1), outputs.argmax(axis=1) == truth
    expected = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert measure("classes", truth, outputs, 8).ece == pytest.approx(expected)


@pytest.mark.parametrize(("rows", "classes"), [(300, 3), (150, 10)])
def test_intervals_are_those_of_rows_drawn_one_by_one(rows, classes):
    truth, outputs = outputs_of(rows, classes, sharpness=2)
    predicted = outputs.argmax(axis=1)
    found = measure("classes", truth, outputs, classes).intervals
    generator = np.random.default_rng(1)
    figures = {
        "accuracy": accuracy_score,
        "balanced_accuracy": balanced_accuracy_score,
        "macro_f1": lambda t, p: f1_score(t, p, average="macro", zero_division=0),
        "weighted_f1": lambda t, p: f1_score(t, p, average="weighted", zero_division=0),
    }
    drawn = [generator.integers(0, rows, rows) for _ in range(600)]
    for name, figure in figures.items():
        expected = np.percentile([figure(truth[picked], predicted[picked]) for picked in drawn], (2.5, 97.5))
        np.testing.assert_allclose(found[name], expected, atol=0.02)


def test_intervals_are_the_same_twice_and_differ_by_seed():
    truth, outputs = outputs_of(200, 4)
    first, second, other = (measure("classes", truth, outputs, 4, seed).intervals for seed in (0, 0, 1))
    assert first == second
    assert first != other


def test_a_perfect_head_has_intervals_of_no_width():
    truth = np.arange(60) % 3
    assert measure("classes", truth, np.eye(3)[truth], 3).intervals["macro_f1"] == (1.0, 1.0)


def test_one_row_is_enough():
    found = measure("classes", np.array([1]), np.array([[0.2, 0.8]]), 2)
    assert (found.accuracy, found.macro_f1, found.intervals["accuracy"]) == (1.0, 1.0, (1.0, 1.0))
