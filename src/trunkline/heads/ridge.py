"""Ridge: least squares with L2, in closed form from Gram matrices of standardised features, one for each fold, merged by adding.

One pass gives every candidate on every fold: the Gram matrix of a fold's training rows is the whole less that of the fold. Where the
features are too many for a Gram matrix, L-BFGS minimises the same objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.calibration import TEMPERATURES, losses_by_temperature
from trunkline.heads.folds import usable_folds
from trunkline.heads.linear_head import Activation, LinearHead, Matrix
from trunkline.heads.lockstep import FINAL, NOBODY, Fit, Problem, solve
from trunkline.heads.passes import Block, Sums
from trunkline.heads.protocol import Candidate, Work
from trunkline.heads.sampling import spread_over
from trunkline.heads.scoring import counted, score_of
from trunkline.heads.spectrum import MOST_FEATURES
from trunkline.heads.standard import Standard
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.progress import Step
from trunkline.specs import RidgeSpec


@dataclass(frozen=True)
class Grams:
    """Sums over rows of each fold: x xᵀ (f, kept, kept), x tᵀ (f, kept, k), x (f, kept), t (f, k), weights (f,), float64."""

    xx: NDArray[np.float64]
    xt: NDArray[np.float64]
    x: NDArray[np.float64]
    t: NDArray[np.float64]
    n: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray[np.float32], truth: NDArray[np.float32]) -> Grams:
        """Of (n, kept) features and (n, k) truth in memory, as the sums of one fold."""
        products = [(x.T @ each).astype(np.float64)[None] for each in (x, truth)]
        sums = [each.sum(axis=0, dtype=np.float64)[None] for each in (x, truth)]
        return cls(products[0], products[1], sums[0], sums[1], np.array([float(len(x))]))

    def first(self, features: int) -> Grams:
        """Of the first features alone."""
        return Grams(self.xx[:, :features, :features], self.xt[:, :features], self.x[:, :features], self.t, self.n)

    def without(self, fold: int) -> Grams:
        """Of the rows outside a fold, as the sums of one."""
        every = [each.sum(axis=0, keepdims=True) for each in (self.xx, self.xt, self.x, self.t, self.n)]
        if fold != NOBODY:
            inside = (self.xx, self.xt, self.x, self.t, self.n)
            every = [whole - each[fold : fold + 1] for whole, each in zip(every, inside, strict=True)]
        return Grams(*every)

    def path(self, alphas: Sequence[float]) -> list[Matrix]:
        """(kept + 1, k) weights for each alpha, from one eigendecomposition."""
        mean, centre = self.x[0] / self.n[0], self.t[0] / self.n[0]
        covariance = self.xx[0] - self.n[0] * np.outer(mean, mean)
        values, vectors = np.linalg.eigh(covariance)
        projected = vectors.T @ (self.xt[0] - self.n[0] * np.outer(mean, centre))
        found = []
        for alpha in alphas:
            slopes = vectors @ (projected / (np.maximum(values, 0.0) + alpha)[:, None])
            found.append(np.vstack([slopes, centre - mean @ slopes]))
        return found


def fit_ridge(spec: RidgeSpec, data: TrainingData, work: Work) -> LinearHead:
    """Choose alpha by cross-validation, then fit on all training rows; of classes on their indicators, calibrated on held-out rows."""
    data = data.standardised()
    weights = data.target.balance(data.truth) if spec.class_weight == "balanced" else None
    path = sorted(spec.alpha, reverse=True)
    folds = max(usable_folds(data.target, data.truth, spec.folds), 1)
    if data.width > MOST_FEATURES:
        return _iterated(path, weights, data, work)
    work.progress(Step("fit", 0, None, "Gram matrices"))
    data = replace(data, folds=(data.folds % folds).astype(np.int8))
    grams = Grams(*data.reduce(_gram, (folds, data.target, weights)))
    table: Sequence[Candidate] = ()
    alpha, temperature, how = path[len(path) // 2], 1.0, "the middle one: nothing to cross-validate with"
    if folds >= 2:
        solutions = np.stack([grams.without(fold).path(path) for fold in range(folds)])  # (f, a, kept + 1, k)
        counts, losses = data.reduce(_held_out, (data.target, solutions.astype(np.float32)))
        scores = np.array([[score_of(data.target, counts[fold, a]) for fold in range(folds)] for a in range(len(path))])
        best = int(np.argmax(np.round(scores.mean(axis=1), 9)))
        table = tuple(
            Candidate({"alpha": f"{each:g}"}, float(scores[a].mean()), float(scores[a].std()), a == best)
            for a, each in enumerate(path)
            if len(path) > 1
        )
        alpha, how = path[best], f"{folds}-fold cross-validation" if len(path) > 1 else "the only one"
        temperature = float(TEMPERATURES[np.argmin(losses[:, best].sum(axis=0))])
    solution = grams.without(NOBODY).path([alpha])[0]
    said = {"alpha": f"{alpha:g}", "chosen by": how}
    return _head(data, solution, temperature, said, table)


def _gram(block: Block, state: tuple[int, Target, NDArray[np.float32] | None]) -> Sums:
    folds, target, weights = state
    truth = target.one_hot(block.truth)
    shares = spread_over(weights, block.truth)
    shares = np.ones(len(truth), np.float32) if shares is None else shares
    width, outputs = block.x.shape[1], target.outputs
    sums = (
        np.zeros((folds, width, width), np.float32),
        np.zeros((folds, width, outputs), np.float32),
        np.zeros((folds, width)),
        np.zeros((folds, outputs)),
    )
    counts = np.zeros(folds)
    for fold in range(folds):
        inside = block.folds == fold
        x, t, w = block.x[inside], truth[inside], shares[inside][:, None]
        sums[0][fold], sums[1][fold] = x.T @ (x * w), x.T @ (t * w)
        sums[2][fold], sums[3][fold] = (x * w).sum(axis=0, dtype=np.float64), (t * w).sum(axis=0, dtype=np.float64)
        counts[fold] = w.sum(dtype=np.float64)
    return *sums, counts


def _held_out(block: Block, state: tuple[Target, NDArray[np.float32]]) -> Sums:
    target, solutions = state
    folds, candidates = solutions.shape[:2]
    counts = np.zeros((folds, candidates, 4 if target.kind == "regression" else 3, target.outputs))
    losses = np.zeros((folds, candidates, len(TEMPERATURES)))
    for fold in range(folds):
        out = block.folds == fold
        x, truth = block.x[out], block.truth[out]
        if not len(x):
            continue
        for candidate, weights in enumerate(solutions[fold]):
            scores = (x @ weights[:-1] + weights[-1]).astype(np.float64)
            counts[fold, candidate] = counted(target, truth, scores)
            if target.kind != "regression":
                losses[fold, candidate] = losses_by_temperature(target, truth, _centred(scores, target))
    return counts, losses


def _centred(scores: Matrix, target: Target) -> Matrix:
    """Scores whose sign says the label: indicators are met halfway."""
    return 2.0 * scores - 1.0 if target.kind == "multilabel" else scores


def _iterated(path: Sequence[float], weights: NDArray[np.float32] | None, data: TrainingData, work: Work) -> LinearHead:
    """Too wide for a Gram matrix: L-BFGS on the middle candidate; nothing is cross-validated."""
    alpha = path[len(path) // 2]
    problem = Problem(data.target, "squared", weights, calibrated=False)
    fit = Fit(0.5 / alpha, NOBODY)
    start = np.zeros((data.width + 1, data.target.outputs))
    start[-1] = data.target.one_hot(data.truth).mean(axis=0)
    solution = solve([fit], problem, data, replace(FINAL, decrease=1e-9), work, "ridge", {fit: start})[fit]
    said = {"alpha": f"{alpha:g}", "chosen by": f"the middle one: {data.width:,} features are too many for Gram matrices"}
    return _head(data, solution.weights, 8.0, said, ())


def _head(
    data: TrainingData, solution: Matrix, temperature: float, said: dict[str, str], table: Sequence[Candidate]
) -> LinearHead:
    standard = data.standard
    assert isinstance(standard, Standard)
    if data.target.kind == "regression":
        return LinearHead(standard, solution, "identity", said, (), table)
    weights = solution * temperature
    activation: Activation = "softmax"
    if data.target.kind == "multilabel":
        activation, weights = "sigmoid", 2.0 * weights
        weights[-1] -= temperature
    return LinearHead(standard, weights, activation, said, (), table)
