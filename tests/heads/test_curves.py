"""Curves of what the filter and more labels are worth, on handwritten digits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.heads.made import LABELS, PIXELS, VALUE, data_of
from trunkline.heads import curves
from trunkline.heads.curves import filter_curve, learning_curve

ROWS = np.arange(1200)
VARIANCES = PIXELS[ROWS].var(axis=0).astype(np.float64)


def test_more_features_are_worth_more_and_take_more():
    points = filter_curve(data_of(rows=ROWS), VARIANCES, kept=50, itemsize=4, seed=0)
    assert [point.kept for point in points] == [8, 16, 32, 50, 64]
    assert [point.bytes for point in points] == [4 * point.kept * len(ROWS) for point in points]
    assert points[0].score < points[2].score - 0.05
    assert points[-1].score > 0.85


def test_features_of_little_variance_are_worth_little():
    last = filter_curve(data_of(rows=ROWS), -VARIANCES, kept=16, itemsize=4, seed=0)
    first = filter_curve(data_of(rows=ROWS), VARIANCES, kept=16, itemsize=4, seed=0)
    (worst,), (best,) = ([point.score for point in points if point.kept == 16] for points in (last, first))
    assert best > worst + 0.2


@pytest.mark.parametrize("target", [LABELS, VALUE], ids=lambda target: target.kind)
def test_the_filters_curve_of_labels_and_values(target):
    points = filter_curve(data_of(target, rows=ROWS), VARIANCES, kept=40, itemsize=4, seed=0)
    assert points[-1].score > points[0].score


def test_too_many_features_have_no_curve(monkeypatch):
    monkeypatch.setattr(curves, "MOST_FEATURES", 63)
    assert filter_curve(data_of(rows=ROWS), VARIANCES, kept=40, itemsize=4, seed=0) == []


def test_a_sample_is_enough_where_there_are_many_rows(monkeypatch):
    monkeypatch.setattr(curves, "MOST_BYTES", 300 * 64 * 4)
    points = filter_curve(data_of(rows=ROWS), VARIANCES, kept=64, itemsize=4, seed=0)
    assert points[-1].bytes == 4 * 64 * len(ROWS)  # of all rows
    assert points[-1].score > 0.7


def test_more_images_a_class_are_worth_more():
    points = learning_curve(data_of(rows=ROWS), seed=0)
    assert [point.per_class for point in points[:6]] == [1, 2, 5, 10, 20, 50]
    assert [point.rows for point in points[:6]] == [10, 20, 50, 100, 200, 500]
    assert points[-1].rows == int((data_of(rows=ROWS).folds != 0).sum())
    assert points[0].score < points[3].score < points[-1].score
    assert all(point.lowest <= point.score <= point.highest for point in points)
    assert points[0].lowest < points[0].highest


def test_the_same_seed_gives_the_same_curve():
    one, other = (learning_curve(data_of(rows=ROWS[:300]), seed=3) for _ in range(2))
    assert one == other


def test_labels_and_values_have_no_learning_curve():
    assert learning_curve(data_of(LABELS), seed=0) == learning_curve(data_of(VALUE), seed=0) == []


def test_two_images_have_no_curves():
    data = data_of(rows=np.array([0, 1]))
    assert filter_curve(data, VARIANCES, kept=64, itemsize=4, seed=0) == []
    assert learning_curve(data, seed=0) == []
