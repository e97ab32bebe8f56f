"""Metrics against scikit-learn's, for any predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from trunkline.metrics import Metrics

CLASSES = 5
codes = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)


@given(codes)
def test_they_are_scikit_learns(pairs):
    truth, predicted = np.array(pairs).T
    found = Metrics.of(truth, predicted, CLASSES)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=range(CLASSES), zero_division=0)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(truth, predicted, labels=range(CLASSES)))
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.support, support)
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert found.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))


def test_rows_of_the_confusion_are_the_truth():
    found = Metrics.of(np.array([0, 0, 1]), np.array([1, 1, 1]), 2)
    assert found.confusion.tolist() == [[0, 2], [0, 1]]
    assert found.support.tolist() == [2, 1]


@given(codes)
def test_they_survive_json(pairs):
    truth, predicted = np.array(pairs).T
    found = Metrics.of(truth, predicted, CLASSES)
    back = Metrics.of_json(json.loads(json.dumps({name: np.asarray(value).tolist() for name, value in vars(found).items()})))
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(back, name), value)
        assert np.asarray(getattr(back, name)).dtype == np.asarray(value).dtype


@pytest.mark.parametrize("change", [{"accuracy": "much"}, {"confusion": [[1], [1, 2]]}, {"f1": ["x"]}])
def test_odd_json_is_a_value_error(change):
    found = Metrics.of(np.array([0, 1]), np.array([0, 1]), 2)
    said = {name: np.asarray(value).tolist() for name, value in vars(found).items()} | change
    with pytest.raises(ValueError, match=r"could not convert|inhomogeneous"):
        Metrics.of_json(said)


def test_missing_json_is_a_key_error():
    with pytest.raises(KeyError, match="precision"):
        Metrics.of_json({"accuracy": 1.0})
