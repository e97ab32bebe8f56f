"""Whether a file answers as the pipeline does, on real images: the same labels, and probabilities to 1e-4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import RunError
from trunkline.heads.targets import Target
from trunkline.predictor.answers import LIKELY, Outputs

Flags = NDArray[np.bool_]

TOLERANCE = 1e-4  # of probabilities; of values relative to them, where they are above 1
TIE = 1e-5  # probabilities this close to each other, or to the threshold of a label, have no order that float32 could keep


@dataclass(frozen=True)
class Proof:
    """How one way of answering compares with the pipeline on `images`.

    Parameters
    ----------
    labels_equal : how many images have the same label, or the same labels; of a regression those within the tolerance.
    ties : how many of the others the pipeline itself could not tell apart.
    largest_difference : over all probabilities; of values relative to max(1, |value|).
    """

    images: int
    labels_equal: int
    ties: int
    largest_difference: float

    @property
    def holds(self) -> bool:
        return self.labels_equal + self.ties == self.images and self.largest_difference <= TOLERANCE


def compared(target: Target, pipeline: Outputs, answers: NDArray[np.floating]) -> Proof:
    """(n, k) outputs of the pipeline's head on stored features, and what a file said of the same images."""
    differences = np.abs(pipeline - np.asarray(answers, np.float64))
    if target.kind == "regression":
        differences /= np.maximum(1.0, np.abs(pipeline))
        same: Flags = np.asarray((differences <= TOLERANCE).all(axis=1))
        tied: Flags = np.zeros(len(same), bool)
    elif target.kind == "multilabel":
        flipped = (pipeline >= LIKELY) != (answers >= LIKELY)
        same = np.asarray(~flipped.any(axis=1))
        tied = np.asarray(~(flipped & (np.abs(pipeline - LIKELY) > TIE)).any(axis=1))
    else:
        said = answers.argmax(axis=1)
        same = np.asarray(said == pipeline.argmax(axis=1))
        tied = np.asarray(pipeline.max(axis=1) - pipeline[np.arange(len(said)), said] <= TIE)
    largest = float(differences.max()) if np.isfinite(answers).all() else float("inf")
    return Proof(len(pipeline), int(same.sum()), int((tied & ~same).sum()), largest)


def refuse_unless_proven(name: str, proof: Proof) -> None:
    """Raises RunError where a file answers otherwise than the pipeline."""
    if not proof.holds:
        raise RunError(
            f"{name} does not answer as the pipeline does: on {proof.images} real images {proof.labels_equal} labels are equal "
            f"({proof.ties} more are ties), and probabilities differ by up to {proof.largest_difference:.3g}, where {TOLERANCE:g} is "
            "allowed. Nothing was exported. Are the features of another machine or runtime? `trunkline audit` tells."
        )
