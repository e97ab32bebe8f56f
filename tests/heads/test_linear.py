"""Softmax regression and linear SVM against scikit-learn's, on handwritten digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.svm import LinearSVC

from tests.heads.made import DIGITS, LABELS, PIXELS, data_of
from trunkline.errors import CorruptStore, DataError
from trunkline.fan_out import SerialExecutor
from trunkline.heads import linear, lockstep
from trunkline.heads.linear import fit_linear
from trunkline.heads.linear_head import LinearHead
from trunkline.heads.lockstep import CANDIDATE, NOBODY, Fit, Problem, gradients_of, solve
from trunkline.heads.protocol import Forgetful, Scores, Work
from trunkline.heads.spectrum import spectrum_of
from trunkline.heads.standard import Standard
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.specs import SoftmaxSpec, SvmSpec

TEST = np.arange(1000, 1797)


def work(log: Forgetful | None = None) -> Work:
    return Work(SerialExecutor(), log=log or Forgetful())


def log_losses(weights: np.ndarray, x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    scores = x @ weights[:-1] + weights[-1]
    scores -= scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(codes)), codes]


@pytest.mark.parametrize("c", [0.001, 0.03, 1.0])
def test_softmax_is_scikit_learns(c):
    data = data_of(rows=np.arange(1000))
    head = fit_linear(SoftmaxSpec(C=c), data, work())
    x = head.standard(PIXELS[:1000]).astype(np.float64)
    theirs = LogisticRegression(C=c, max_iter=5000, tol=1e-7).fit(x, DIGITS[:1000])

    def objective(weights: np.ndarray) -> float:
        return float(c * log_losses(weights, x, DIGITS[:1000]).sum() + 0.5 * np.square(weights[:-1]).sum())

    best = objective(np.vstack([theirs.coef_.T, theirs.intercept_]))
    assert objective(head.weights) == pytest.approx(best, rel=1e-4)
    ours, truth = head.outputs(PIXELS[TEST]), DIGITS[TEST]
    others = theirs.predict(head.standard(PIXELS[TEST]))
    assert f1_score(truth, ours.argmax(axis=1), average="macro") == pytest.approx(
        f1_score(truth, others, average="macro"), abs=0.002
    )
    assert head.chosen["chosen by"] == "the only one"


def test_the_svm_is_scikit_learns():
    c = 0.001
    data = data_of(rows=np.arange(1000))
    head = fit_linear(SvmSpec(C=c), data, work())
    x = head.standard(PIXELS[:1000]).astype(np.float64)
    theirs = LinearSVC(C=c, dual=False, tol=1e-8, max_iter=20_000, intercept_scaling=100.0).fit(x, DIGITS[:1000])
    agree = head.outputs(PIXELS[TEST]).argmax(axis=1) == theirs.predict(head.standard(PIXELS[TEST]))
    assert agree.mean() > 0.995
    scores = head.standard(PIXELS[TEST]) @ head.weights[:-1]
    scale = np.linalg.norm(scores) / np.linalg.norm(head.standard(PIXELS[TEST]) @ theirs.coef_.T)
    np.testing.assert_allclose(head.weights[:-1] / scale, theirs.coef_.T, atol=0.01)


def test_the_svms_probabilities_are_calibrated_on_held_out_rows():
    data = data_of(rows=np.arange(1000))
    head = fit_linear(SvmSpec(C=0.001), data, work())
    truth = DIGITS[TEST]
    calibrated = log_loss(truth, head.outputs(PIXELS[TEST]))
    for factor in (0.25, 4.0):
        other = replace(head, weights=head.weights * factor)
        assert calibrated < log_loss(truth, other.outputs(PIXELS[TEST]))


def test_labels_are_each_a_logistic_regression():
    data = data_of(LABELS, rows=np.arange(1000))
    head = fit_linear(SoftmaxSpec(C=0.01), data, work())
    x = head.standard(PIXELS[:1000]).astype(np.float64)
    found = head.outputs(PIXELS[TEST])
    for label in range(3):
        theirs = LogisticRegression(C=0.01, tol=1e-7, max_iter=5000).fit(x, data.truth[:, label])
        np.testing.assert_allclose(found[:, label], theirs.predict_proba(head.standard(PIXELS[TEST]))[:, 1], atol=2e-3)


def test_balanced_classes_are_scikit_learns():
    rows = np.sort(np.concatenate([np.flatnonzero(DIGITS[:1000] != 8), np.flatnonzero(DIGITS[:1000] == 8)[:6]]))
    head = fit_linear(SoftmaxSpec(C=0.01, class_weight="balanced"), data_of(rows=rows), work())
    theirs = LogisticRegression(C=0.01, tol=1e-7, max_iter=5000, class_weight="balanced").fit(
        head.standard(PIXELS[rows]).astype(np.float64), DIGITS[rows]
    )
    found, expected = head.outputs(PIXELS[TEST]), theirs.predict_proba(head.standard(PIXELS[TEST]))
    np.testing.assert_allclose(found, expected, atol=5e-3)
    plain = fit_linear(SoftmaxSpec(C=0.01), data_of(rows=rows), work())
    rare = DIGITS[TEST] == 8
    assert (found.argmax(axis=1) == 8)[rare].mean() > (plain.outputs(PIXELS[TEST]).argmax(axis=1) == 8)[rare].mean() + 0.1


def test_cross_validation_takes_the_candidate_that_generalises():
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(3), 40)
    noise = rng.normal(size=(120, 300)).astype(np.float32)
    noise[:, :3] += 1.2 * np.eye(3, dtype=np.float32)[codes]
    folds = (np.arange(120) % 3).astype(np.int8)
    target = Target("classes", ("a", "b", "c"))
    data = TrainingData.in_memory(noise, target, codes, folds)
    path = (0.0003, 0.003, 0.03, 100.0)
    head = fit_linear(SoftmaxSpec(C=path), data, work())
    assert [each.settings["C"] for each in head.candidates] == [f"{c:g}" for c in path]
    x = head.standard(noise)
    for each, c in zip(head.candidates, path, strict=True):
        scores = []
        for fold in range(3):
            inside, outside = folds != fold, folds == fold
            model = LogisticRegression(C=c, max_iter=5000, tol=1e-7).fit(x[inside], codes[inside])
            scores.append(f1_score(codes[outside], model.predict(x[outside]), average="macro"))
        assert each.score == pytest.approx(np.mean(scores), abs=0.05)
        assert each.spread == pytest.approx(np.std(scores), abs=0.05)
    (chosen,) = [each for each in head.candidates if each.chosen]
    assert chosen.score == max(each.score for each in head.candidates)
    assert head.chosen["C"] == chosen.settings["C"]
    assert head.chosen["chosen by"] == "3-fold cross-validation"


class KilledError(Exception):
    pass


class Deadly(Forgetful):
    """Keeps so many scores, then the process dies."""

    def __init__(self, lives: int) -> None:
        super().__init__()
        self.lives = lives

    def put(self, key: str, scores: Scores) -> None:
        if len(self.scores) >= self.lives:
            raise KilledError
        super().put(key, scores)


def test_a_sweep_that_was_killed_goes_on_with_what_is_missing(monkeypatch):
    spec, data = SoftmaxSpec(C=(0.0001, 0.01, 0.1)), data_of()
    undisturbed = fit_linear(spec, data, work())
    log = Deadly(4)
    with pytest.raises(KilledError):
        fit_linear(spec, data, work(log))
    log.lives = 100
    asked = []
    monkeypatch.setattr(linear, "solve", lambda fits, *rest, **more: asked.append(list(fits)) or solve(fits, *rest, **more))
    resumed = fit_linear(spec, data, work(log))
    assert [len(fits) for fits in asked] == [5, 1]  # 9 − 4 of the sweep, then all rows
    assert len(log.scores) == 9
    assert [each.score for each in resumed.candidates] == pytest.approx(
        [each.score for each in undisturbed.candidates], abs=1e-3
    )
    assert resumed.chosen["C"] == undisturbed.chosen["C"]
    np.testing.assert_allclose(resumed.outputs(PIXELS[TEST]), undisturbed.outputs(PIXELS[TEST]), atol=5e-3)


def test_fits_in_lockstep_are_each_as_if_alone():
    data = data_of().standardised()
    problem = Problem(data.target, "softmax", None, calibrated=False)
    fits = [Fit(c, fold) for c in (0.001, 0.1) for fold in (0, 1, NOBODY)]
    together = solve(fits, problem, data, CANDIDATE, work(), "all")
    for fit in fits:
        alone = solve([fit], problem, data, CANDIDATE, work(), "one")[fit]
        assert together[fit].value == pytest.approx(alone.value, rel=1e-4)
        assert (together[fit].scores is None) == (fit.fold == NOBODY)


def test_many_classes_are_fitted_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(lockstep, "MOST_COLUMNS", 25)
    widths = []

    def watched(block, state):
        widths.append(state.weights.shape[1])
        return gradients_of(block, state)

    monkeypatch.setattr(lockstep, "gradients_of", watched)
    head = fit_linear(SoftmaxSpec(C=(0.001, 0.01)), data_of(), work())
    assert max(widths) == 2
    assert len(head.candidates) == 2


def test_a_class_of_one_image_does_not_stop_cross_validation():
    rows = np.sort(np.concatenate([np.flatnonzero(DIGITS[:400] != 3), np.flatnonzero(DIGITS[:400] == 3)[:1]]))
    head = fit_linear(SoftmaxSpec(C=(0.001, 0.01)), data_of(rows=rows), work())
    assert head.chosen["chosen by"] == "3-fold cross-validation"


def test_single_images_of_every_class_take_the_middle_candidate():
    rows = np.sort([int(np.flatnonzero(digit == DIGITS)[0]) for digit in range(10)])
    head = fit_linear(SoftmaxSpec(C=(0.01, 0.1, 1.0)), data_of(rows=rows), work())
    assert head.chosen["C"] == "0.1"
    assert head.chosen["chosen by"] == "the middle one: no class has two images to cross-validate with"


def test_two_images_a_class_are_enough():
    rows = np.sort(np.concatenate([np.flatnonzero(digit == DIGITS)[:2] for digit in range(10)]))
    head = fit_linear(SoftmaxSpec(), data_of(rows=rows), work())
    assert head.chosen["chosen by"] == "2-fold cross-validation"
    assert (head.outputs(PIXELS[TEST]).argmax(axis=1) == DIGITS[TEST]).mean() > 0.5


def test_too_few_iterations_are_said():
    head = fit_linear(SoftmaxSpec(C=1.0, max_iterations=3), data_of(), work())
    assert head.notes == ["softmax stopped after 3 iterations before it converged."]


def test_the_spectrum_saves_passes_where_features_are_read_again_each_time():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(4000, 10)) @ rng.normal(size=(10, 60)) + 0.1 * rng.normal(size=(4000, 60))).astype(np.float32)
    codes = (x[:, :3] + rng.normal(size=(4000, 3))).argmax(axis=1)
    held = TrainingData.in_memory(x, Target("classes", ("a", "b", "c")), codes).standardised()
    streamed = replace(held, held_bytes=0)
    assert spectrum_of(held) is None
    assert spectrum_of(streamed) is not None
    problem, fit = Problem(held.target, "softmax", None, calibrated=False), Fit(1.0, NOBODY)
    plain, quick = (solve([fit], problem, data, lockstep.FINAL, work(), "")[fit] for data in (held, streamed))
    assert quick.value == pytest.approx(plain.value, rel=1e-5)
    assert quick.iterations < 0.7 * plain.iterations


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's words about the same NaN
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_no_number_is_refused(value):
    features = PIXELS[:100].copy()
    features[7, 20] = value
    data = TrainingData.in_memory(features, Target("classes", tuple("0123456789")), DIGITS[:100])
    with pytest.raises(DataError, match=r"The fit with C=0\.01 diverged: a feature holds NaN or infinity"):
        fit_linear(SoftmaxSpec(C=0.01), data, work())


def test_probabilities_sum_to_one_however_large_the_scores():
    standard = Standard(np.zeros(1, np.float32), np.ones(1, np.float32))
    head = LinearHead(standard, np.array([[1e4, -1e4], [0.0, 0.0]]), "softmax")
    found = head.outputs(np.array([[1.0], [-1.0], [0.0]], np.float32))
    np.testing.assert_array_equal(found, [[1, 0], [0, 1], [0.5, 0.5]])


def test_what_is_saved_gives_the_same_outputs_whatever_the_memory_order():
    weights = np.asfortranarray(np.random.default_rng(0).normal(size=(65, 10)))
    head = LinearHead(Standard(np.ones(64, np.float32), np.full(64, 2.0, np.float32)), weights, "softmax")
    back = LinearHead.load(head.files())
    np.testing.assert_array_equal(back.outputs(PIXELS), head.outputs(PIXELS))


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-9], lambda c: b"\xff" * len(c), lambda c: c[:0], lambda c: c.replace(b"softmax", b"sofamax")]
)
def test_a_damaged_file_is_refused(damage):
    (content,) = fit_linear(SoftmaxSpec(C=0.01), data_of(), work()).files().values()
    with pytest.raises(
        CorruptStore, match=r"linear\.safetensors of the saved head is damaged .*Delete the head: it is fitted again"
    ):
        LinearHead.load({"linear.safetensors": damage(content)})


def test_arrays_that_do_not_fit_together_are_refused():
    standard = Standard(np.zeros(3, np.float32), np.ones(3, np.float32))
    files = LinearHead(standard, np.zeros((9, 2)), "softmax").files()
    with pytest.raises(CorruptStore, match="arrays that do not fit together"):
        LinearHead.load(files)
