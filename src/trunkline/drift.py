"""Drift: how far the mean features of a batch lie from those of the training images that the mask was fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.moments import Moments

WORST = 5


@dataclass(frozen=True)
class BatchDrift:
    """Of one batch of the manifest; shifts are in training standard deviations.

    Parameters
    ----------
    batch : its number.
    rows : its live training images, which are those that count: moments are stored of them.
    overall : root mean square of the shifts of the features that are kept, less what chance explains; see `batch_drift`.
    worst : up to five features that are kept and moved most: (number, signed shift), largest first; chance is not taken off.
    warned : whether somebody should look.
    """

    batch: int
    rows: int
    overall: float
    worst: tuple[tuple[int, float], ...]
    warned: bool


@dataclass(frozen=True, eq=False)
class Reference:
    """What batches are compared with: the training images that a mask was fitted on.

    Parameters
    ----------
    rows : how many they were.
    means, variances : (dim,) float64, over them.
    kept : (dim,) bool, the features that count.
    """

    rows: int
    means: NDArray[np.float64]
    variances: NDArray[np.float64]
    kept: NDArray[np.bool_]


def shifts(batch: Moments, reference: Reference) -> NDArray[np.float64]:
    """(kept,): the mean of each feature that is kept, minus the reference's, in the reference's standard deviations."""
    kept = reference.kept
    moved: NDArray[np.float64] = (batch.mean[kept] - reference.means[kept]) / np.sqrt(reference.variances[kept])
    return moved


def batch_drift(number: int, batch: Moments, reference: Reference, *, inside: bool, limit: float) -> BatchDrift:
    """Compare a batch of at least one image with the reference.

    The mean of n images moves by chance. Without any drift the square of a shift is, on average over draws, 1/n + 1/N for a batch
    beside the N images of the reference, and 1/n - 1/N for one that is part of them (`inside`). `overall` is the root of the mean
    square of all shifts less this expectation, or 0 where less than nothing is left: so a batch of five images and one of five
    million are on one scale. Features move together, and so the mean square of a small batch scatters by as much as its
    expectation: `warned` asks that `overall` exceeds the limit still when twice the expectation more is taken off. A batch inside
    the reference never warns, since a new mask would be the same.

    Parameters
    ----------
    number : of the batch.
    inside : whether the mask was fitted on this batch too.
    limit : in training standard deviations.
    """
    moved = shifts(batch, reference)
    chance = 1 / batch.count - 1 / reference.rows if inside else 1 / batch.count + 1 / reference.rows
    beyond = float(np.square(moved).mean()) - max(chance, 0.0)
    numbers = np.flatnonzero(reference.kept)
    worst = np.argsort(-np.abs(moved), kind="stable")[:WORST]
    return BatchDrift(
        batch=number,
        rows=batch.count,
        overall=float(np.sqrt(max(beyond, 0.0))),
        worst=tuple((int(numbers[place]), float(moved[place])) for place in worst),
        warned=not inside and beyond - 2 * chance > limit**2,
    )


def warning(found: BatchDrift, limit: float) -> str:
    """One sentence or two for people: which batch, how far, and what to do."""
    feature, shift = found.worst[0]
    return (
        f"Batch {found.batch} ({found.rows:,} training images) has drifted by {found.overall:.2f} standard deviations from the images "
        f"that the mask was fitted on (drift_warning is {limit:g}; feature {feature} moved most, by {shift:+.1f}). Look at its images: "
        "has the camera, the lighting or the mix of classes changed? If they are right, `trunkline select --refit` and `trunkline fit` "
        "take them into account."
    )
