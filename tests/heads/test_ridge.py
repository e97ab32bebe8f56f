"""Ridge against scikit-learn's, from Gram matrices of folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, log_loss, r2_score

from tests.heads.made import DIGITS, LABELS, PIXELS, VALUE, data_of
from trunkline.fan_out import SerialExecutor
from trunkline.heads import ridge
from trunkline.heads.protocol import Work
from trunkline.heads.ridge import Grams, fit_ridge
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.specs import RidgeSpec

ROWS, TEST = np.arange(1000), np.arange(1000, 1797)
WORK = Work(SerialExecutor())


def test_values_are_predicted_as_scikit_learns_ridge_does():
    data = data_of(VALUE, rows=ROWS)
    head = fit_ridge(RidgeSpec(alpha=10.0), data, WORK)
    theirs = Ridge(alpha=10.0).fit(head.standard(PIXELS[ROWS]).astype(np.float64), data.truth)
    np.testing.assert_allclose(head.outputs(PIXELS[TEST])[:, 0], theirs.predict(head.standard(PIXELS[TEST])), rtol=1e-4)
    assert head.activation == "identity"


def test_classes_are_those_of_scikit_learns_ridge_on_indicators():
    head = fit_ridge(RidgeSpec(alpha=10.0), data_of(rows=ROWS), WORK)
    theirs = Ridge(alpha=10.0).fit(head.standard(PIXELS[ROWS]).astype(np.float64), np.eye(10)[DIGITS[ROWS]])
    expected = theirs.predict(head.standard(PIXELS[TEST])).argmax(axis=1)
    assert (head.outputs(PIXELS[TEST]).argmax(axis=1) == expected).mean() > 0.999


def test_probabilities_are_calibrated():
    head = fit_ridge(RidgeSpec(alpha=10.0), data_of(rows=ROWS), WORK)
    found = log_loss(DIGITS[TEST], head.outputs(PIXELS[TEST]))
    for factor in (0.25, 4.0):
        assert found < log_loss(DIGITS[TEST], replace(head, weights=head.weights * factor).outputs(PIXELS[TEST]))


def test_labels_are_said_where_half_of_the_indicator_is_passed():
    data = data_of(LABELS, rows=ROWS)
    head = fit_ridge(RidgeSpec(alpha=10.0), data, WORK)
    theirs = Ridge(alpha=10.0).fit(head.standard(PIXELS[ROWS]).astype(np.float64), data.truth)
    expected = theirs.predict(head.standard(PIXELS[TEST])) >= 0.5
    assert ((head.outputs(PIXELS[TEST]) >= 0.5) == expected).mean() > 0.999


def test_the_whole_path_is_scored_on_every_fold():
    data, path = data_of(rows=ROWS), (1.0, 100.0, 100_000.0)
    head = fit_ridge(RidgeSpec(alpha=path), data, WORK)
    x = head.standard(PIXELS[ROWS]).astype(np.float64)
    for each in head.candidates:
        scores = []
        for fold in range(3):
            inside, outside = data.folds != fold, data.folds == fold
            model = Ridge(alpha=float(each.settings["alpha"])).fit(x[inside], np.eye(10)[DIGITS[ROWS][inside]])
            scores.append(f1_score(DIGITS[ROWS][outside], model.predict(x[outside]).argmax(axis=1), average="macro"))
        assert each.score == pytest.approx(np.mean(scores), abs=1e-3)
    assert [each.settings["alpha"] for each in head.candidates] == ["100000", "100", "1"]
    (chosen,) = [each for each in head.candidates if each.chosen]
    assert chosen.score == max(each.score for each in head.candidates)


def test_the_path_of_values_is_scored_by_r_squared():
    data = data_of(VALUE, rows=ROWS)
    head = fit_ridge(RidgeSpec(alpha=(1.0, 1000.0)), data, WORK)
    x = head.standard(PIXELS[ROWS]).astype(np.float64)
    for each in head.candidates:
        scores = []
        for fold in range(3):
            inside, outside = data.folds != fold, data.folds == fold
            model = Ridge(alpha=float(each.settings["alpha"])).fit(x[inside], data.truth[inside])
            scores.append(r2_score(data.truth[outside], model.predict(x[outside])))
        assert each.score == pytest.approx(np.mean(scores), abs=1e-4)


def test_grams_of_a_fold_are_the_whole_without_it():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(90, 5)).astype(np.float32), rng.normal(size=(90, 2)).astype(np.float32)
    folds = np.arange(90) % 3
    parts = [Grams.of(x[folds == fold], t[folds == fold]) for fold in range(3)]
    sums = [np.concatenate([getattr(part, name) for part in parts]) for name in ("xx", "xt", "x", "t", "n")]
    outside = Grams(*sums).without(1)
    alone = Grams.of(x[folds != 1], t[folds != 1])
    for name in ("xx", "xt", "x", "t", "n"):
        np.testing.assert_allclose(getattr(outside, name), getattr(alone, name), rtol=1e-4, atol=1e-4)


def test_the_first_features_alone():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(90, 5)).astype(np.float32), rng.normal(size=(90, 2)).astype(np.float32)
    (some,), (alone,) = Grams.of(x, t).first(3).path([2.0]), Grams.of(x[:, :3], t).path([2.0])
    np.testing.assert_allclose(some, alone, rtol=1e-6)


def test_too_many_features_for_a_gram_matrix_are_fitted_by_iterations(monkeypatch):
    exact = fit_ridge(RidgeSpec(alpha=100.0), data_of(VALUE, rows=ROWS), WORK)
    monkeypatch.setattr(ridge, "MOST_FEATURES", 63)
    iterated = fit_ridge(RidgeSpec(alpha=(10.0, 100.0, 1000.0)), data_of(VALUE, rows=ROWS), WORK)
    np.testing.assert_allclose(iterated.outputs(PIXELS[TEST]), exact.outputs(PIXELS[TEST]), rtol=1e-3)
    assert iterated.chosen == {"alpha": "100", "chosen by": "the middle one: 64 features are too many for Gram matrices"}


def test_balanced_classes_lift_the_rare_one():
    rows = np.sort(np.concatenate([np.flatnonzero(DIGITS[:1000] != 8), np.flatnonzero(DIGITS[:1000] == 8)[:6]]))
    rare = DIGITS[TEST] == 8
    found = [
        (
            fit_ridge(RidgeSpec(alpha=100.0, class_weight=each), data_of(rows=rows), WORK).outputs(PIXELS[TEST]).argmax(axis=1)
            == 8
        )
        for each in ("none", "balanced")
    ]
    assert found[1][rare].mean() > found[0][rare].mean() + 0.2


def test_more_features_than_rows():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(2), 10)
    x = rng.normal(size=(20, 50)).astype(np.float32)
    x[:, 0] += 4.0 * codes
    data = TrainingData.in_memory(x, Target("classes", ("a", "b")), codes, (np.arange(20) % 3).astype(np.int8))
    head = fit_ridge(RidgeSpec(), data, WORK)
    assert (head.outputs(x).argmax(axis=1) == codes).mean() > 0.9
