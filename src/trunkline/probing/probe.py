"""The linear probe: how well a linear head does on held-out images of the sample.

The head is our ridge, on standardised features: its whole path of regularisation takes one decomposition a fold, where softmax takes some
fifty passes a candidate, and it ranks cuts alike (docs/choosing.md has the check).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.fan_out import SerialExecutor
from trunkline.heads.folds import folds_of
from trunkline.heads.protocol import Work
from trunkline.heads.ridge import fit_ridge
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.specs import RidgeSpec

FOLDS = 5


@dataclass(frozen=True)
class Probe:
    """Mean and standard deviation of macro-F1 over the folds, with the regularisation of the highest mean."""

    f1: float
    spread: float
    alpha: str


def linear_probe(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, seed: int = 0) -> Probe:
    """Cross-validate ridge over stratified folds; the same features, labels and seed give the same answer.

    Parameters
    ----------
    features : (n, dim), at most `heads.spectrum.MOST_FEATURES` wide.
    labels : (n,) from 0 to `classes` − 1; at least one class has two images.
    """
    target = Target("classes", tuple(map(str, range(classes))))
    data = TrainingData.in_memory(features, target, labels, folds_of(target, labels, FOLDS, seed))
    head = fit_ridge(RidgeSpec(folds=FOLDS), data, Work(SerialExecutor(), seed))
    best = next(candidate for candidate in head.candidates if candidate.chosen)
    return Probe(best.score, best.spread, best.settings["alpha"])
