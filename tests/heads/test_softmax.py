"""Softmax regression against scikit-learn's and against finite differences, on handwritten digits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import StratifiedKFold

from trunkline.errors import DataError
from trunkline.heads.softmax import Softmax, fit_softmax, loss_and_gradient, minimise
from trunkline.specs import SoftmaxSpec

DATA = load_digits()
PIXELS, DIGITS = DATA.data.astype(np.float32), DATA.target.astype(np.int64)
TRAIN, TEST = slice(0, 1000), slice(1000, None)


def standardised(head: Softmax, features: np.ndarray) -> np.ndarray:
    return ((features - head.mean) / head.deviation).astype(np.float64)


def objective(weights: np.ndarray, x: np.ndarray, codes: np.ndarray, c: float) -> float:
    scores = x @ weights[:-1] + weights[-1]
    scores -= scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return float(-c * logs[np.arange(len(codes)), codes].sum() + 0.5 * np.square(weights[:-1]).sum())


@pytest.mark.parametrize("c", [0.001, 0.03])
def test_it_is_scikit_learns(c):
    head = fit_softmax(PIXELS[TRAIN], DIGITS[TRAIN], 10, SoftmaxSpec(C=(c,), max_iterations=2000), seed=0)
    x = standardised(head, PIXELS[TRAIN])
    theirs = LogisticRegression(C=c, max_iter=5000, tol=1e-6).fit(x, DIGITS[TRAIN])
    their_weights = np.vstack([theirs.coef_.T, theirs.intercept_])
    best = objective(their_weights, x, DIGITS[TRAIN], c)
    assert objective(head.weights, x, DIGITS[TRAIN], c) == pytest.approx(best, rel=1e-4)
    ours = head.probabilities(PIXELS[TEST]).argmax(axis=1)
    their_f1 = f1_score(DIGITS[TEST], theirs.predict(standardised(head, PIXELS[TEST])), average="macro")
    assert f1_score(DIGITS[TEST], ours, average="macro") == pytest.approx(their_f1, abs=0.002)
    assert head.chosen == {"C": f"{c:g}", "chosen by": "given"}


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_gradient_is_that_of_finite_differences(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 3)).astype(np.float32)
    truth = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 12)]
    weights = rng.normal(size=(4, 4))
    _, gradient = loss_and_gradient(x, truth, weights)
    # float32 inside: a wide step, and a tolerance that fits it
    numeric = approx_fprime(weights.ravel(), lambda flat: loss_and_gradient(x, truth, flat.reshape(4, 4))[0], 1e-2)
    np.testing.assert_allclose(gradient.ravel(), numeric, atol=6e-3)


def test_the_loss_is_the_mean_log_loss():
    rng = np.random.default_rng(0)
    head = Softmax(np.zeros(3, np.float32), np.ones(3, np.float32), rng.normal(size=(4, 5)), {})
    x, codes = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 5, 40)
    loss, _ = loss_and_gradient(x, np.eye(5, dtype=np.float32)[codes], head.weights)
    assert loss == pytest.approx(log_loss(codes, head.probabilities(x), labels=range(5)), rel=1e-5)


def test_blocks_of_rows_add_up():
    rng = np.random.default_rng(1)
    x, truth = rng.normal(size=(30, 3)).astype(np.float32), np.eye(4, dtype=np.float32)[rng.integers(0, 4, 30)]
    weights = rng.normal(size=(4, 4))
    loss, gradient = loss_and_gradient(x, truth, weights)
    parts = [loss_and_gradient(x[rows], truth[rows], weights) for rows in (slice(0, 10), slice(10, 30))]
    assert (parts[0][0] * 10 + parts[1][0] * 20) / 30 == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose((parts[0][1] * 10 + parts[1][1] * 20) / 30, gradient, atol=1e-6)


def test_cross_validation_takes_the_candidate_that_generalises():
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(3), 20)
    noise = rng.normal(size=(60, 200)).astype(np.float32)
    noise[:, :3] += 1.5 * np.eye(3, dtype=np.float32)[codes]
    candidates = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
    head = fit_softmax(noise, codes, 3, SoftmaxSpec(C=candidates, max_iterations=1000), seed=0)
    assert head.chosen["chosen by"] == "3-fold cross-validation"
    x = standardised(head, noise)
    losses = []
    for c in candidates:
        folds = StratifiedKFold(3, shuffle=True, random_state=0).split(x, codes)
        fitted = [(LogisticRegression(C=c, max_iter=5000).fit(x[i], codes[i]), o) for i, o in folds]
        losses.append(np.mean([log_loss(codes[o], model.predict_proba(x[o])) for model, o in fitted]))
    best = candidates[int(np.argmin(losses))]
    assert best not in (candidates[0], candidates[-1])  # so that either end would be wrong
    assert head.chosen["C"] == f"{best:g}"


def test_folds_shrink_with_the_smallest_class():
    codes = DIGITS[:200].copy()
    keep = np.concatenate([np.flatnonzero(codes != 0), np.flatnonzero(codes == 0)[:2]])
    head = fit_softmax(PIXELS[keep], codes[keep], 10, SoftmaxSpec(C=(0.01, 0.1), folds=5), seed=0)
    assert head.chosen["chosen by"] == "2-fold cross-validation"


def test_a_class_of_one_image_takes_the_middle_candidate():
    codes = np.array([0, 0, 0, 1, 1, 2])
    head = fit_softmax(PIXELS[:6], codes, 3, SoftmaxSpec(C=(0.01, 0.1, 1.0)), seed=0)
    assert head.chosen == {
        "C": "0.1",
        "chosen by": "middle candidate: a class has one image, too few to cross-validate",
    }


def test_the_same_seed_gives_the_same_head():
    one, other = (fit_softmax(PIXELS[:300], DIGITS[:300], 10, SoftmaxSpec(C=(0.001, 0.01)), seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)


def test_a_constant_feature_does_no_harm():
    assert (PIXELS[:300].std(axis=0) == 0).any()
    head = fit_softmax(PIXELS[:300], DIGITS[:300], 10, SoftmaxSpec(C=(0.01,)), seed=0)
    assert np.isfinite(head.weights).all()
    assert (head.probabilities(PIXELS[:300]).argmax(axis=1) == DIGITS[:300]).mean() > 0.9


def test_probabilities_sum_to_one_however_large_the_scores():
    head = Softmax(np.zeros(1, np.float32), np.ones(1, np.float32), np.array([[1e4, -1e4], [0.0, 0.0]]), {})
    found = head.probabilities(np.array([[1.0], [-1.0], [0.0]], np.float32))
    np.testing.assert_array_equal(found, [[1, 0], [0, 1], [0.5, 0.5]])


def test_what_is_saved_predicts_the_same():
    head = fit_softmax(PIXELS[:300], DIGITS[:300], 10, SoftmaxSpec(C=(0.01,)), seed=0)
    back = Softmax.load(head.files())
    np.testing.assert_array_equal(back.probabilities(PIXELS), head.probabilities(PIXELS))


def test_a_saved_head_that_holds_objects_is_refused():
    import io

    out = io.BytesIO()
    np.savez(out, mean=np.array([{}], object), deviation=np.ones(1), weights=np.ones((2, 2)))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Softmax.load({"softmax.npz": out.getvalue()})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's words about the same NaN
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_no_number_is_refused(value):
    features = PIXELS[:100].copy()
    features[7, 20] = value
    with pytest.raises(DataError, match=r"Softmax regression with C=0\.01 diverged: a feature holds NaN or infinity"):
        fit_softmax(features, DIGITS[:100], 10, SoftmaxSpec(C=(0.01,)), seed=0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_minimising_from_where_nothing_is_finite_is_refused():
    with pytest.raises(DataError, match="C=1 diverged"):
        minimise(PIXELS[:20], DIGITS[:20], 10, 1.0, np.full((65, 10), np.nan), 10, 1e-8)
