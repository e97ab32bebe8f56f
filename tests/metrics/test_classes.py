"""A classifier's metrics against scikit-learn's, for any predictions, and back from JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from trunkline.metrics import Metrics, measure, metrics_of_json

CLASSES = 5
codes = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)


def outputs_of(rows: int, classes: int, seed: int = 0, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and probabilities that lean towards it."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, rows)
    logits = generator.normal(size=(rows, classes)) + sharpness * np.eye(classes)[truth]
    odds = np.exp(logits)
    return truth, odds / odds.sum(axis=1, keepdims=True)


@given(codes)
def test_they_are_scikit_learns(pairs):
    truth, predicted = np.array(pairs).T
    found = Metrics.of(truth, predicted, CLASSES)
    labels, zero = range(CLASSES), {"zero_division": 0}
    precision, recall, f1, support = oracle.precision_recall_fscore_support(truth, predicted, labels=labels, **zero)
    np.testing.assert_array_equal(found.confusion, oracle.confusion_matrix(truth, predicted, labels=labels))
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.support, support)
    assert found.accuracy == pytest.approx(oracle.accuracy_score(truth, predicted))
    assert found.macro_f1 == pytest.approx(oracle.f1_score(truth, predicted, average="macro", **zero))
    assert found.weighted_f1 == pytest.approx(oracle.f1_score(truth, predicted, average="weighted", **zero))
    there = np.unique(truth)  # scikit-learn warns of predictions of classes that the truth lacks, and leaves them out
    assert found.balanced_accuracy == pytest.approx(
        oracle.recall_score(truth, predicted, labels=there, average="macro", **zero)
    )


def test_balanced_accuracy_is_scikit_learns():
    truth, outputs = outputs_of(400, 7)
    found = measure("classes", truth, outputs, 7)
    assert found.balanced_accuracy == pytest.approx(oracle.balanced_accuracy_score(truth, outputs.argmax(axis=1)))


@pytest.mark.parametrize("classes", [6, 9, 40])
@pytest.mark.parametrize("rounded", [False, True])
def test_what_needs_probabilities_is_scikit_learns(classes, rounded):
    truth, outputs = outputs_of(500, classes, seed=classes)
    if rounded:  # as a forest gives them: many zeros and ties
        outputs = np.round(outputs * 8)
        outputs[outputs.sum(axis=1) == 0] = 1
        outputs /= outputs.sum(axis=1, keepdims=True)
    found = measure("classes", truth, outputs, classes)
    labels = range(classes)
    assert found.top5 == pytest.approx(oracle.top_k_accuracy_score(truth, outputs, k=5, labels=labels))
    assert found.log_loss == pytest.approx(oracle.log_loss(truth, outputs, labels=labels))


def test_on_a_real_classifier_with_classes_absent_from_the_truth():
    pixels, target = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=2000).fit(pixels[:900], target[:900])
    there = np.flatnonzero(target[900:] < 7) + 900
    outputs = model.predict_proba(pixels[there])
    found = measure("classes", target[there], outputs, 10)
    predicted = outputs.argmax(axis=1)
    assert set(predicted) - set(target[there]), "some predictions are of absent classes"
    assert found.macro_f1 == pytest.approx(oracle.f1_score(target[there], predicted, average="macro", zero_division=0))
    assert found.log_loss == pytest.approx(oracle.log_loss(target[there], outputs, labels=range(10)))
    assert found.top5 == pytest.approx(oracle.top_k_accuracy_score(target[there], outputs, k=5, labels=range(10)))
    assert (found.rows, found.targets, found.headline) == (len(there), "classes", ("macro-F1", found.macro_f1))


def test_five_classes_have_no_top_five():
    assert measure("classes", *outputs_of(20, 5), 5).top5 is None


def test_rows_of_the_confusion_are_the_truth():
    found = Metrics.of(np.array([0, 0, 1]), np.array([1, 1, 1]), 2)
    assert found.confusion.tolist() == [[0, 2], [0, 1]]
    assert found.support.tolist() == [2, 1]


def through_json(metrics):
    return metrics_of_json(json.loads(json.dumps(metrics.to_json(), allow_nan=False)))


@pytest.mark.parametrize("classes", [2, 9, 200, 201, 1500])
def test_they_survive_json(classes):
    found = measure("classes", *outputs_of(300, classes), classes)
    back = through_json(found)
    for name, value in vars(found).items():
        if name not in ("reliability", "intervals"):
            np.testing.assert_array_equal(getattr(back, name), value)
            assert np.asarray(getattr(back, name)).dtype == np.asarray(value).dtype
    for name, value in vars(found.reliability).items():
        np.testing.assert_array_equal(getattr(back.reliability, name), value)
    assert back.intervals == found.intervals


def test_very_many_classes_are_written_short():
    found = measure("classes", *outputs_of(300, 2000), 2000)
    assert len(json.dumps(found.to_json())) < 200_000


@given(codes)
def test_predictions_alone_survive_json_too(pairs):
    found = Metrics.of(*np.array(pairs).T, CLASSES)
    back = through_json(found)
    assert back.to_json() == found.to_json()
    assert np.isnan(back.log_loss)
    assert np.isnan(back.ece)
    assert (back.top5, len(back.reliability.count)) == (None, 0)


def test_a_head_from_before_there_were_more_figures_is_read():
    old = {"accuracy": 0.5, "macro_f1": 0.4, "confusion": [[1, 0], [1, 0]], "support": [1, 1]}
    old |= {"precision": [0.5, 0.0], "recall": [1.0, 0.0], "f1": [0.66, 0.0]}
    found = metrics_of_json(old)
    assert isinstance(found, Metrics)
    assert (found.accuracy, found.rows, found.top5, found.intervals) == (0.5, 2, None, {})
    assert np.isnan([found.balanced_accuracy, found.weighted_f1, found.log_loss, found.ece]).all()


ODD = [
    ({"accuracy": "much"}, "accuracy is 'much', which is no number"),
    ({"accuracy": True}, "accuracy is True, which is no number"),
    ({"confusion": [[1], [1, 2]]}, "confusion holds 1 values and not 2"),
    ({"confusion": [[1, 2]]}, "confusion has not the 2 rows"),
    ({"confusion": 7}, "confusion has not the 2 rows"),
    ({"confusion": {"classes": 10**9, "filled": [[], [], []]}}, "confusion is of 1000000000 classes and not of 2"),
    ({"confusion": {"classes": 2, "filled": [[0], [2], [1]]}}, "confusion names a cell beyond 2"),
    ({"confusion": {"classes": 2, "filled": [[0]]}}, "confusion is not rows, columns and counts"),
    ({"confusion": [[-1, 0], [0, 1]]}, "confusion is -1, which is no count"),
    ({"support": [2**64, 1]}, "support is 18446744073709551616, which is no count"),
    ({"f1": ["x", 1]}, "f1 is 'x'"),
    ({"f1": 1}, "f1 is no list"),
    ({"targets": "shapes"}, "targets is 'shapes', and not classes, multilabel, regression"),
    ({"targets": []}, "targets is \\[\\]"),
    ({"intervals": [1]}, "intervals is no mapping"),
    ({"intervals": {"accuracy": [1]}}, "intervals.accuracy holds 1 values and not 2"),
    ({"reliability": {"count": [1], "confidence": [], "accuracy": [1]}}, "reliability.confidence holds 0 values and not 1"),
]


@pytest.mark.parametrize(("change", "words"), ODD)
def test_odd_json_is_a_value_error(change, words):
    said = Metrics.of(np.array([0, 1]), np.array([0, 1]), 2).to_json() | change
    with pytest.raises(ValueError, match=words):
        metrics_of_json(said)


def test_missing_json_is_a_key_error():
    with pytest.raises(KeyError, match="precision"):
        metrics_of_json({"accuracy": 1.0})
