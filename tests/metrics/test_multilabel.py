"""Metrics of labels against scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from trunkline.errors import DataError
from trunkline.metrics import MultilabelMetrics, measure, metrics_of_json

LABELS = 4
rows = st.lists(
    st.tuples(*[st.integers(0, 1)] * LABELS, *[st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])] * LABELS), min_size=1, max_size=30
)


def made(seed: int = 0, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.random((rows, LABELS)) < np.array([0.5, 0.2, 0.05, 0.0])
    return truth.astype(np.int64), np.clip(0.6 * truth + 0.6 * generator.random(truth.shape), 0, 1)


@given(rows)
def test_they_are_scikit_learns(values):
    table = np.array(values, np.float64)
    truth, outputs = table[:, :LABELS].astype(int), table[:, LABELS:]
    predicted = (outputs >= 0.5).astype(int)
    found = measure("multilabel", truth, outputs, LABELS)
    precision, recall, f1, support = oracle.precision_recall_fscore_support(truth, predicted, zero_division=0)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.support, support)
    decided = (truth.any(axis=0) | predicted.any(axis=0)).any()
    if decided:
        assert found.macro_f1 == pytest.approx(oracle.f1_score(truth, predicted, average="macro", zero_division=np.nan))
        assert found.micro_f1 == pytest.approx(oracle.f1_score(truth, predicted, average="micro"))
    else:
        assert np.isnan([found.macro_f1, found.micro_f1]).all()
    assert found.subset_accuracy == pytest.approx(oracle.accuracy_score(truth, predicted))
    losses = [oracle.log_loss(truth[:, label], outputs[:, label], labels=[0, 1]) for label in range(LABELS)]
    assert found.log_loss == pytest.approx(np.mean(losses))


def test_intervals_are_those_of_rows_drawn_one_by_one():
    truth, outputs = made()
    predicted = (outputs >= 0.5).astype(int)
    found = measure("multilabel", truth, outputs, LABELS).intervals
    generator = np.random.default_rng(1)
    drawn = [generator.integers(0, len(truth), len(truth)) for _ in range(600)]
    for name, average in (("macro_f1", "macro"), ("micro_f1", "micro")):
        values = [oracle.f1_score(truth[d], predicted[d], average=average, zero_division=np.nan) for d in drawn]
        np.testing.assert_allclose(found[name], np.percentile(values, (2.5, 97.5)), atol=0.02)
    values = [(truth[d] == predicted[d]).all(axis=1).mean() for d in drawn]
    np.testing.assert_allclose(found["subset_accuracy"], np.percentile(values, (2.5, 97.5)), atol=0.02)


def test_they_survive_json():
    found = measure("multilabel", *made(), LABELS)
    back = metrics_of_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert isinstance(back, MultilabelMetrics)
    assert back.to_json() == found.to_json()
    assert back.headline == ("macro-F1", found.macro_f1)
    assert (back.rows, back.support.dtype, back.f1.dtype) == (300, np.int64, np.float64)


def test_nothing_true_and_nothing_predicted_is_no_figure():
    found = measure("multilabel", np.zeros((3, 2)), np.zeros((3, 2)), 2)
    assert np.isnan(found.macro_f1)
    assert found.subset_accuracy == 1
    assert "macro_f1" not in found.intervals
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["macro_f1"] is None


ODD = [
    ("multilabel", [[0, 2]], [[0.1, 0.2]], 2, ValueError, "The truth of labels is 0 or 1"),
    (
        "multilabel",
        [[0, 1]],
        [[0.1, 0.2, 0.3]],
        2,
        ValueError,
        r"Truth of \(1, 2\) and outputs of \(1, 3\) are not those of a mult",
    ),
    ("classes", [0], [[0.5, 0.5]], 3, ValueError, "are not those of a classes target of 3"),
    ("classes", [2], [[0.5, 0.5]], 2, ValueError, "Class numbers from 2 to 2 are not those of 2 classes"),
    ("classes", [0], [[np.nan, 0.5]], 2, DataError, "A head gave NaN or infinity for some rows"),
    ("regression", [0.0], [[1.0, 2.0]], 2, ValueError, "are not those of a regression target of 2"),
    ("regression", [np.nan], [[1.0]], 1, DataError, "The truth holds NaN or infinity"),
    ("shapes", [0], [[1.0]], 1, ValueError, "There is no target of kind 'shapes'; there are classes, multilabel, regression"),
    ("classes", [], np.empty((0, 2)), 2, DataError, "There is no row to measure a head on"),
]


@pytest.mark.parametrize(("kind", "truth", "outputs", "k", "error", "words"), ODD)
def test_what_cannot_be_measured_is_said(kind, truth, outputs, k, error, words):
    with pytest.raises(error, match=words):
        measure(kind, np.array(truth), np.array(outputs), k)


def test_odd_json_is_a_value_error():
    said = measure("multilabel", *made(), LABELS).to_json()
    with pytest.raises(ValueError, match="f1 holds 1 values and not 4"):
        metrics_of_json(said | {"f1": [1.0]})
    with pytest.raises(ValueError, match="metrics is no mapping"):
        metrics_of_json([said])
