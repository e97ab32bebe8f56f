"""Multinomial logistic regression, L2, exact L-BFGS; the regularisation is chosen by stratified cross-validation.

The objective is scikit-learn's: C times the summed log loss plus half the squared weights, intercepts free; minimised divided
by C n. Features are standardised by the training rows' mean and deviation, which are saved with the weights.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError
from trunkline.heads.protocol import Codes, Features
from trunkline.specs import SoftmaxSpec

Matrix = NDArray[np.float64]
GRADIENT_TOLERANCE = 1e-5
FINAL_TOLERANCE, CANDIDATE_TOLERANCE = 1e-8, 1e-6  # smallest relative decrease of the objective


@dataclass(frozen=True)
class Softmax:
    """`weights` (kept + 1, k) float64, the intercepts last, over (x − mean) / deviation."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    weights: Matrix
    chosen: Mapping[str, str]

    def probabilities(self, features: Features) -> Matrix:
        return _softmax(_standardised(features, self.mean, self.deviation) @ self.weights[:-1] + self.weights[-1])

    def files(self) -> dict[str, bytes]:
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, mean=self.mean, deviation=self.deviation, weights=self.weights)
        return {"softmax.npz": out.getvalue()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Softmax:
        with np.load(io.BytesIO(files["softmax.npz"]), allow_pickle=False) as file:
            return cls(file["mean"], file["deviation"], file["weights"], {})


def fit_softmax(features: Features, codes: Codes, classes: int, spec: SoftmaxSpec, seed: int) -> Softmax:
    """Choose C on the training rows, then fit on all of them.

    Parameters
    ----------
    features : (n, kept) float32.
    codes : (n,) class numbers.
    """
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    mean, deviation = mean.astype(np.float32), np.where(deviation > 0, deviation, 1.0).astype(np.float32)
    x = _standardised(features, mean, deviation)
    folds = min(spec.folds, int(np.bincount(codes, minlength=classes).min()))
    if len(spec.C) == 1:
        best, how = spec.C[0], "given"
    elif folds < 2:
        best, how = spec.C[len(spec.C) // 2], "middle candidate: a class has one image, too few to cross-validate"
    else:
        best, how = _cross_validate(x, codes, classes, spec, folds, seed), f"{folds}-fold cross-validation"
    weights = np.zeros((x.shape[1] + 1, classes))
    for c in (candidate for candidate in spec.C if candidate <= best):
        weights = minimise(x, codes, classes, c, weights, spec.max_iterations, FINAL_TOLERANCE)
    return Softmax(mean, deviation, weights, {"C": f"{best:g}", "chosen by": how})


def minimise(x: Features, codes: Codes, classes: int, c: float, start: Matrix, iterations: int, tolerance: float) -> Matrix:
    """The weights, (kept + 1, k), that minimise the objective from `start`. Raises DataError where it diverges."""
    from scipy.optimize import minimize

    truth = _one_hot(codes, classes)
    penalty = 1.0 / (c * len(x))

    def objective(flat: Matrix) -> tuple[float, Matrix]:
        weights = flat.reshape(start.shape)
        loss, gradient = loss_and_gradient(x, truth, weights)
        slopes = weights[:-1]
        gradient[:-1] += penalty * slopes
        return loss + 0.5 * penalty * float(np.square(slopes).sum()), gradient.ravel()

    options = {"maxiter": iterations, "gtol": GRADIENT_TOLERANCE, "ftol": tolerance, "maxcor": 20}
    found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
        raise DataError(
            f"Softmax regression with C={c:g} diverged: a feature holds NaN or infinity. Run `trunkline quarantine`, or lower C."
        )
    return np.asarray(found.x.reshape(start.shape))


def loss_and_gradient(x: Features, truth: NDArray[np.float32], weights: Matrix) -> tuple[float, Matrix]:
    """Mean log loss over rows and its gradient, (kept + 1, k); sums over rows, so blocks of rows can be added up."""
    single = weights.astype(np.float32)
    p = _softmax((x @ single[:-1] + single[-1]).astype(np.float64))
    loss = -float(np.log(np.maximum((p * truth).sum(axis=1), 1e-300)).mean())
    error = (p - truth).astype(np.float32) / np.float32(len(x))
    return loss, np.vstack([x.T @ error, error.sum(axis=0, dtype=np.float64)]).astype(np.float64)


def _cross_validate(x: Features, codes: Codes, classes: int, spec: SoftmaxSpec, folds: int, seed: int) -> float:
    """The candidate with the lowest mean log loss on held-out folds.

    From strong regularisation to weak, each starting from the last one's weights; once the loss rises, the weaker ones are left out.
    """
    from sklearn.model_selection import StratifiedKFold

    split = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, codes))
    weights = [np.zeros((x.shape[1] + 1, classes))] * folds
    best, lowest = spec.C[0], np.inf
    for c in spec.C:
        losses = []
        for number, (inside, outside) in enumerate(split):
            weights[number] = minimise(
                x[inside], codes[inside], classes, c, weights[number], spec.max_iterations, CANDIDATE_TOLERANCE
            )
            losses.append(loss_and_gradient(x[outside], _one_hot(codes[outside], classes), weights[number])[0])
        if np.mean(losses) > lowest:
            break
        best, lowest = c, float(np.mean(losses))
    return best


def _one_hot(codes: Codes, classes: int) -> NDArray[np.float32]:
    truth = np.zeros((len(codes), classes), np.float32)
    truth[np.arange(len(codes)), codes] = 1.0
    return truth


def _standardised(features: Features, mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> Features:
    return (features - mean) / deviation


def _softmax(scores: Matrix) -> Matrix:
    scores = scores - scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
