"""Fewer rows where all of them do not fit into memory, and the note that says so; weights of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.targets import Target, Truth
from trunkline.heads.training import TrainingData


def within(data: TrainingData, most_bytes: int, seed: int, what: str) -> tuple[TrainingData, tuple[str, ...]]:
    """The data where they fit into so many bytes, else a sample, of classes each in proportion; and what to note of it.

    Parameters
    ----------
    what : what was done with the rows, for the note: "The forest was fitted".
    """
    some = data.sampled(most_bytes, seed)
    if len(some) == len(data):
        return data, ()
    return some, (
        f"{what} on {len(some):,} of {len(data):,} training images, drawn at random: the features of all take "
        f"{data.nbytes / 2**20:,.0f} MiB, and {most_bytes / 2**20:,.0f} MiB are allowed.",
    )


def row_weights(target: Target, truth: Truth, class_weight: str) -> NDArray[np.float32] | None:
    """(n,) float32, or None where all rows count the same.

    Balanced: of classes by class; of several labels the mean over them, as a row has one weight for all its labels.
    """
    return spread_over(target.balance(truth) if class_weight == "balanced" else None, truth)


def spread_over(weights: NDArray[np.float32] | None, truth: Truth) -> NDArray[np.float32] | None:
    """(n,) float32 of rows from `Target.balance`'s weights."""
    if weights is None:
        return None
    if weights.ndim == 1:
        return np.asarray(weights[truth])
    return np.asarray(np.where(truth > 0, weights[1], weights[0]).mean(axis=1), np.float32)


def class_weight_notes(target: Target, class_weight: str) -> tuple[str, ...]:
    """What to note where there is nothing to balance."""
    if class_weight == "balanced" and target.kind == "regression":
        return ("class_weight balanced did nothing: a regression has no classes.",)
    return ()
