"""How well outputs match the truth of rows that a fit did not see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.protocol import Scores
from trunkline.heads.scoring import counted, score_of
from trunkline.heads.targets import Target, Truth

WORST, WORST_OF_VALUES = Scores(0.0, 1e9), Scores(-1e9, 1e9)


def scores_of(target: Target, truth: Truth, outputs: NDArray[np.float64]) -> Scores:
    """Macro-F1 and mean log loss of classes and labels; R² and mean squared error of values. Outputs that are not finite score worst."""
    if not np.isfinite(outputs).all():
        return WORST_OF_VALUES if target.kind == "regression" else WORST
    score = score_of(target, counted(target, truth, outputs))
    return Scores(score if np.isfinite(score) else 0.0, float(losses_of(target, truth, outputs).mean()))


def losses_of(target: Target, truth: Truth, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): log loss of classes, its mean over labels, or the squared error."""
    least = np.finfo(np.float64).eps
    match target.kind:
        case "classes":
            return np.asarray(-np.log(np.maximum(outputs[np.arange(len(truth)), truth], least)))
        case "multilabel":
            return np.asarray(-np.log(np.clip(np.where(truth > 0, outputs, 1 - outputs), least, 1)).mean(axis=1))
        case "regression":
            return np.square(truth.reshape(-1) - outputs[:, 0])
