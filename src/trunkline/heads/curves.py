"""Two curves of what heads are worth: against the features kept, and against the images of a class. Nothing here looks at the test split.

Both are measured on the training images of one fold, held out, by quick heads: ridge from one Gram matrix, softmax on a few images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trunkline.fan_out import SerialExecutor
from trunkline.heads.linear_head import LinearHead
from trunkline.heads.lockstep import CANDIDATE, NOBODY, Fit, Problem, solve
from trunkline.heads.protocol import Features, Work
from trunkline.heads.ridge import Grams
from trunkline.heads.scoring import counted, score_of
from trunkline.heads.spectrum import MOST_FEATURES
from trunkline.heads.targets import Truth
from trunkline.heads.training import TrainingData, standard_of

MOST_BYTES = 128 * 2**20  # of training features that the curves look at
PER_CLASS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
DRAWS = 3
ALPHA = 0.3  # of ridge, for each row
C = 0.1
HELD_OUT = 0


@dataclass(frozen=True)
class FilterPoint:
    """With so many features kept, those of the largest variance: bytes of all rows, and the score on held-out training images."""

    kept: int
    bytes: int
    score: float


@dataclass(frozen=True)
class LearningPoint:
    """With so many images a class, `rows` in all: mean, lowest and highest score over a few random draws."""

    per_class: int
    rows: int
    score: float
    lowest: float
    highest: float


def filter_curve(data: TrainingData, variances: NDArray[np.float64], kept: int, itemsize: int, seed: int) -> list[FilterPoint]:
    """Score and size against features kept.

    Parameters
    ----------
    data : training rows with all columns.
    variances : (dim,) of the training rows.
    kept : how many the mask keeps; that point is always there.
    itemsize : bytes of a stored value.

    Returns
    -------
    Points with ascending `kept`; none where there are no two rows to learn from and to test on, or more features than a Gram matrix takes.
    """
    some = _together(data, seed)
    out = some.folds == HELD_OUT
    if data.width > MOST_FEATURES or not 2 <= int(out.sum()) < len(out) - 2:
        return []
    some = some.standardised()
    order = np.argsort(-variances, kind="stable")
    x = some.whole()[:, order]
    truth = some.target.one_hot(some.truth)
    grams = Grams.of(x[~out], truth[~out])
    points = []
    for count in _counts(data.width, kept):
        weights = grams.first(count).path([ALPHA * int((~out).sum())])[0]
        scores = (x[out, :count] @ weights[:-1] + weights[-1]).astype(np.float64)
        found = score_of(some.target, counted(some.target, some.truth[out], scores))
        points.append(FilterPoint(count, count * itemsize * len(data), found))
    return points


def learning_curve(data: TrainingData, seed: int) -> list[LearningPoint]:
    """Score against images a class, of classes alone; `data` has the mask's columns."""
    if data.target.kind != "classes":
        return []
    some = _together(data, seed)
    out = some.folds == HELD_OUT
    inside, outside = np.flatnonzero(~out), np.flatnonzero(out)
    if not len(outside) or len(np.unique(some.truth[inside])) < 2:
        return []
    x = some.whole()
    largest = int(np.bincount(some.truth[inside], minlength=some.target.outputs).max())
    steps = [count for count in PER_CLASS if 1.2 * count < largest]
    points = []
    for count in [*steps, largest]:
        found, rows = [], 0
        for draw in range(DRAWS if count < largest else 1):
            chosen = _drawn(some.truth, inside, count, np.random.default_rng([seed, count, draw]))
            rows = len(chosen)
            found.append(_score(some, x, chosen, outside))
        points.append(LearningPoint(count, rows, float(np.mean(found)), min(found), max(found)))
    return points


def _score(some: TrainingData, x: Features, chosen: NDArray[np.int64], outside: NDArray[np.int64]) -> float:
    part = TrainingData.in_memory(x[chosen], some.target, some.truth[chosen])
    standard = standard_of(part)
    part = replace(part, standard=standard)
    fit = Fit(C, NOBODY)
    work = Work(SerialExecutor())
    weights = solve([fit], Problem(some.target, "softmax", None, calibrated=False), part, CANDIDATE, work, "few labels")[
        fit
    ].weights
    head = LinearHead(standard, weights, "softmax")
    return score_of(some.target, counted(some.target, some.truth[outside], head.outputs(x[outside])))


def _together(data: TrainingData, seed: int) -> TrainingData:
    """A part of the rows, in this process."""
    some = data.sampled(MOST_BYTES, seed)
    return TrainingData.in_memory(some.whole(), some.target, some.truth, some.folds)


def _counts(width: int, kept: int) -> list[int]:
    halves = [max(round(width / 2**power), 1) for power in range(int(np.log2(width)) + 1)]
    return sorted({*(count for count in halves if count >= min(8, width)), kept})


def _drawn(truth: Truth, inside: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Up to `count` rows of each class, ascending."""
    order = random.permutation(inside)
    order = order[np.argsort(truth[order], kind="stable")]
    counts = np.bincount(truth[order])
    inside_class = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[inside_class < count])
