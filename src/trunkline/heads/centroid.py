"""Nearest centroid in standardised features: one pass of merged sums. The distance is linear up to a term that all classes share."""

from __future__ import annotations

import numpy as np

from trunkline.heads.calibration import TEMPERATURES, losses_by_temperature
from trunkline.heads.linear_head import LinearHead, Matrix
from trunkline.heads.passes import Block, Sums
from trunkline.heads.standard import Standard
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData


def fit_centroid(data: TrainingData) -> LinearHead:
    """Class means; probabilities are the softmax of the negative squared distances, by a temperature that suits the training rows."""
    data = data.standardised()
    sums, counts = data.reduce(_sums, data.target)
    means = sums / np.maximum(counts, 1)[:, None]
    scores = np.vstack([2.0 * means.T, -np.square(means).sum(axis=1)]) / data.width
    scores[-1, counts == 0] = -1e6  # a class without a training row is never the nearest
    losses = data.reduce(_losses, (data.target, scores.astype(np.float32)))[0]
    temperature = float(TEMPERATURES[int(np.argmin(losses))])
    assert isinstance(data.standard, Standard)
    said = {"centroids": str(int((counts > 0).sum())), "distance": "Euclidean, standardised"}
    return LinearHead(data.standard, scores * temperature, "softmax", said)


def _sums(block: Block, target: Target) -> Sums:
    indicators = target.one_hot(block.truth)
    return (indicators.T @ block.x).astype(np.float64), indicators.sum(axis=0, dtype=np.float64)


def _losses(block: Block, state: tuple[Target, Matrix]) -> Sums:
    target, weights = state
    scores = (block.x @ weights[:-1] + weights[-1]).astype(np.float64)
    return (losses_by_temperature(target, block.truth, scores),)
