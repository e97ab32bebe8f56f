"""Many linear fits in lockstep: each pass over the data gives value, gradient and held-out scores of all that are not done yet.

The objective is scikit-learn's: C times the summed loss plus half the squared weights, intercepts free; minimised divided by C n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError
from trunkline.heads.calibration import TEMPERATURES, held_out_losses, losses_by_temperature
from trunkline.heads.lbfgs import Minimiser, Stop
from trunkline.heads.linear_head import Matrix
from trunkline.heads.losses import LOSSES, Loss
from trunkline.heads.passes import Block, Sums
from trunkline.heads.protocol import Scores, Work
from trunkline.heads.scoring import counted, score_of
from trunkline.heads.spectrum import Spectrum, spectrum_of
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.progress import Step

FINAL = Stop(gradient=1e-6, decrease=1e-7)
CANDIDATE = Stop(gradient=1e-6, decrease=1e-4)
MOST_COLUMNS = 4096  # of scores that a pass computes for a row
MOST_HISTORY = 256 * 2**20  # bytes of L-BFGS pairs
MEMORY = 10
NOBODY = -1  # the fold of a fit over all rows


@dataclass(frozen=True)
class Fit:
    """One fit: inverse regularisation, and the fold that is held out (`NOBODY`: none)."""

    c: float
    fold: int


@dataclass(frozen=True)
class Solution:
    """Of one fit: (kept + 1, k) weights, the objective's value, iterations, whether it converged; and how the held-out rows came out."""

    weights: Matrix
    value: float
    iterations: int
    converged: bool
    scores: Scores | None


@dataclass(frozen=True)
class Problem:
    """What the fits of one head share: the loss, and weights of classes (k,), or of labels' values (2, k)."""

    target: Target
    loss: Loss
    weights: NDArray[np.float32] | None
    calibrated: bool  # scores have no scale of their own: a temperature is found on held-out rows

    @property
    def at_zero(self) -> float | None:
        """The mean loss where all weights are zero; None where it depends on the truth."""
        k = self.target.outputs
        values = {"softmax": math.log(k), "logistic": k * math.log(2.0), "squared_hinge": float(k)}
        return values.get(self.loss)

    @property
    def curvature(self) -> float:
        """Roughly of the loss by a score, half way."""
        k = self.target.outputs
        return {"softmax": (1.0 - 1.0 / k) / (2.0 * k), "logistic": 0.125, "squared_hinge": 1.0, "squared": 2.0}[self.loss]


@dataclass(frozen=True)
class _State:
    problem: Problem
    folds: NDArray[np.int8]
    weights: NDArray[np.float32]  # (kept + 1, p, k)


def solve(
    fits: Sequence[Fit],
    problem: Problem,
    data: TrainingData,
    stop: Stop,
    work: Work,
    what: str,
    starts: dict[Fit, Matrix] | None = None,
    done: Callable[[Fit, Solution], None] = lambda *_: None,
) -> dict[Fit, Solution]:
    """The fits in lockstep: each pass over the data gives value, gradient and held-out scores of all that are not done yet.

    Parameters
    ----------
    data : with standardised blocks.
    starts : weights to start from, (kept + 1, k); zeros where there are none.
    done : told of each fit when it is done.
    """
    found: dict[Fit, Solution] = {}
    shape = (data.width + 1, data.target.outputs)
    counts = np.bincount(data.folds, minlength=128)
    rows = {fit: len(data) - (int(counts[fit.fold]) if fit.fold != NOBODY else 0) for fit in fits}
    spectrum = spectrum_of(data) if fits else None
    for some in _few_enough(fits, shape):
        running = {
            fit: _minimiser(fit, problem, (starts or {}).get(fit, np.zeros(shape)), stop, spectrum, rows[fit]) for fit in some
        }
        held: dict[Fit, Scores | None] = {}
        passes = 0
        while running:
            state = _state(problem, running, shape)
            losses, gradients, counted_out, held_losses = data.reduce(gradients_of, state)
            passes += 1
            for place, (fit, minimiser) in enumerate(list(running.items())):
                value, gradient = _regularised(
                    minimiser.point.reshape(shape), losses[place], gradients[:, place], fit.c, rows[fit]
                )
                if minimiser.tell(value, gradient.ravel()):
                    held[fit] = _scores(fit, problem, counted_out[place], held_losses[place], len(data) - rows[fit])
                if minimiser.done:
                    found[fit] = _solution(fit, running.pop(fit), held[fit], shape)
                    done(fit, found[fit])
            left = f", {len(running)} of {len(some)} fits left" if len(some) > 1 else ""
            work.progress(Step("fit", 0, None, f"{what}: pass {passes}{left}"))
    return found


def _minimiser(fit: Fit, problem: Problem, start: Matrix, stop: Stop, spectrum: Spectrum | None, rows: int) -> Minimiser:
    penalty = 1.0 / (fit.c * rows)
    if spectrum:
        inverse = spectrum.inverse(problem.curvature, penalty, problem.target.outputs)
    else:  # of standardised features the largest eigenvalue is about a tenth of their number
        inverse = partial(np.multiply, 1.0 / (0.1 * len(start) * problem.curvature + penalty))
    return Minimiser(start.ravel(), stop, MEMORY, problem.at_zero, inverse)


def gradients_of(block: Block, state: _State) -> Sums:
    """Summed losses (p,) and gradients (kept + 1, p, k) of all fits; counts (p, 4 or 3, k) and losses (p, t) of the rows held out."""
    problem, (width, fits, outputs) = state.problem, state.weights.shape
    x, truth = block.x, problem.target.one_hot(block.truth)
    flat = state.weights.reshape(width, fits * outputs)
    scores = (x @ flat[:-1] + flat[-1]).reshape(len(x), fits, outputs)
    counts, held = _held_out(scores, block, state)
    weights = problem.weights
    by_label = None if weights is None or weights.ndim == 1 else np.where(truth > 0, weights[1], weights[0])
    losses = LOSSES[problem.loss](scores, truth, by_label)
    inside = (block.folds[:, None] != state.folds[None, :]).astype(np.float32)
    if weights is not None and weights.ndim == 1:
        inside *= weights[block.truth][:, None]
    scores *= inside[:, :, None]
    error = scores.reshape(len(x), fits * outputs)
    slopes = (x.T @ error).astype(np.float64)
    gradient = np.vstack([slopes, error.sum(axis=0, dtype=np.float64)]).reshape(width, fits, outputs)
    return (losses * inside).sum(axis=0), gradient, counts, held


def _held_out(scores: NDArray[np.float32], block: Block, state: _State) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    problem = state.problem
    counts = np.zeros((len(state.folds), 3, problem.target.outputs))
    losses = np.zeros((len(state.folds), len(TEMPERATURES)))
    for place, fold in enumerate(state.folds):
        out = block.folds == fold
        if fold != NOBODY and out.any():
            given, truth = scores[out, place].astype(np.float64), block.truth[out]
            links = given if problem.target.kind == "classes" else (given >= 0).astype(np.float64)
            counts[place] = counted(problem.target, truth, links)
            losses[place] = (
                losses_by_temperature(problem.target, truth, given)
                if problem.calibrated
                else held_out_losses(problem.target, truth, given, 1.0)
            )
    return counts, losses


def _few_enough(fits: Sequence[Fit], shape: tuple[int, int]) -> Iterator[Sequence[Fit]]:
    """As many at once as bounded memory allows."""
    size = shape[0] * shape[1]
    most = max(1, min(MOST_COLUMNS // shape[1], MOST_HISTORY // (size * 8 * 2 * MEMORY)))
    for first in range(0, len(fits), most):
        yield fits[first : first + most]


def _state(problem: Problem, running: dict[Fit, Minimiser], shape: tuple[int, int]) -> _State:
    weights = np.stack([each.point.reshape(shape) for each in running.values()], axis=1)
    return _State(problem, np.array([fit.fold for fit in running], np.int8), weights.astype(np.float32))


def _regularised(weights: Matrix, loss: float, gradient: Matrix, c: float, rows: int) -> tuple[float, Matrix]:
    penalty, slopes = 1.0 / (c * rows), weights[:-1]
    gradient = gradient / rows
    gradient[:-1] += penalty * slopes
    return float(loss) / rows + 0.5 * penalty * float(np.square(slopes).sum()), gradient


def _scores(fit: Fit, problem: Problem, counts: NDArray[np.float64], losses: NDArray[np.float64], rows: int) -> Scores | None:
    if fit.fold == NOBODY or not rows:
        return None
    best = int(np.argmin(losses)) if problem.calibrated else 0
    temperature = float(TEMPERATURES[best]) if problem.calibrated else 1.0
    return Scores(score_of(problem.target, counts), float(losses[best] / rows), temperature)


def _solution(fit: Fit, ended: Minimiser, scores: Scores | None, shape: tuple[int, int]) -> Solution:
    if not (np.isfinite(ended.value) and np.isfinite(ended.best).all()):
        raise DataError(
            f"The fit with C={fit.c:g} diverged: a feature holds NaN or infinity. Run `trunkline verify`, or lower C."
        )
    return Solution(ended.best.reshape(shape), ended.value, ended.iterations, ended.converged, scores)
