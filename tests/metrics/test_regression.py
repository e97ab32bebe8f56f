"""Metrics of a number against scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from trunkline.metrics import Grid, RegressionMetrics, measure, metrics_of_json

values = st.integers(-1000, 1000).map(lambda number: number / 8)


def fitted() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_diabetes(return_X_y=True)
    return y[300:], LinearRegression().fit(x[:300], y[:300]).predict(x[300:])[:, None]


@given(st.lists(st.tuples(values, values), min_size=2, max_size=30))
def test_they_are_scikit_learns(pairs):
    truth, predicted = np.array(pairs).T
    found = measure("regression", truth, predicted[:, None], 1)
    assert found.r2 == pytest.approx(oracle.r2_score(truth, predicted))
    assert found.mae == pytest.approx(oracle.mean_absolute_error(truth, predicted))
    assert found.rmse == pytest.approx(oracle.root_mean_squared_error(truth, predicted))
    assert found.spread == pytest.approx(truth.std())
    assert found.grid.counts.sum() == len(truth)


def test_on_real_data_with_intervals_of_rows_drawn_one_by_one():
    truth, outputs = fitted()
    found = measure("regression", truth[:, None], outputs, 1)
    assert found.r2 == pytest.approx(oracle.r2_score(truth, outputs[:, 0]))
    generator = np.random.default_rng(1)
    drawn = [generator.integers(0, len(truth), len(truth)) for _ in range(800)]
    figures = {"r2": oracle.r2_score, "mae": oracle.mean_absolute_error, "rmse": oracle.root_mean_squared_error}
    for name, figure in figures.items():
        expected = np.percentile([figure(truth[d], outputs[d, 0]) for d in drawn], (2.5, 97.5))
        np.testing.assert_allclose(found.intervals[name], expected, rtol=0.05)


def test_a_shift_of_the_truth_changes_nothing():
    truth, outputs = fitted()
    near, far = (measure("regression", truth + shift, outputs + shift, 1) for shift in (0, 1e6))
    assert far.r2 == pytest.approx(near.r2)
    assert far.intervals["r2"] == pytest.approx(near.intervals["r2"])


def test_one_value_and_one_row_are_not_numbers_that_mislead():
    constant = measure("regression", np.ones(5), np.array([[1.0], [1], [1], [1], [2]]), 1)
    assert (constant.r2, constant.spread) == (0.0, 0.0)
    assert "r2" not in constant.intervals
    assert constant.intervals["mae"][0] == 0
    one = measure("regression", np.array([3.0]), np.array([[4.0]]), 1)
    assert np.isnan(one.r2)
    assert one.to_json()["r2"] is None
    assert one.mae == 1


def test_they_survive_json():
    found = measure("regression", *fitted(), 1)
    back = metrics_of_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert isinstance(back, RegressionMetrics)
    assert back.to_json() == found.to_json()
    assert (back.headline, back.rows) == (("R²", found.r2), 142)
    np.testing.assert_array_equal(back.grid.counts, found.grid.counts)


def test_the_grid_has_the_truth_in_rows():
    grid = Grid.of(np.array([0.0, 0.0, 40.0]), np.array([0.0, 40.0, 40.0]))
    assert (grid.counts.shape, grid.low, grid.high) == ((40, 40), 0.0, 40.0)
    assert [grid.counts[0, 0], grid.counts[0, 39], grid.counts[39, 39], grid.counts[39, 0]] == [1, 1, 1, 0]
    assert Grid.of(np.ones(3), np.ones(3)).counts[0, 0] == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": {"cells": 10**9, "low": 0, "high": 1, "filled": [[], [], []]}}, "grid.cells is 1000000000, more than a plot"),
        ({"grid": 3}, "grid is no mapping"),
        ({"r2": "good"}, "r2 is 'good'"),
        ({"rows": -1}, "rows is -1, which is no count"),
    ],
)
def test_odd_json_is_a_value_error(change, words):
    with pytest.raises(ValueError, match=words):
        metrics_of_json(measure("regression", *fitted(), 1).to_json() | change)
