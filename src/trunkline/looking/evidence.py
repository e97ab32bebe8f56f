"""Where in an image the evidence for an answer lies: exact class-activation maps of linear heads, occlusion for all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.linear_head import LinearHead
from trunkline.heads.opening import OpenHead

Map = NDArray[np.float64]
SQUARES, STEPS = 5, 10  # a covering square is a fifth of the image's side, and moves by a tenth

Outputs = Callable[[NDArray[Any]], NDArray[np.float64]]  # (n, size, size, 3) pixels → (n, k) outputs of a head


@dataclass(frozen=True)
class Evidence:
    """What speaks for one output of a head.

    Parameters
    ----------
    output : its number among the target's names.
    values : (height, width) float64; above 0 where the image speaks for it, below where it speaks against it.
    """

    output: int
    values: Map


def is_linear(head: OpenHead) -> bool:
    """Whether the head's score is a weighted sum of features, which is what a class-activation map needs."""
    return isinstance(head.fitted, LinearHead)


def class_activation(head: OpenHead, maps: NDArray[np.float32], output: int) -> Evidence:
    """The class-activation map of an output (B. Zhou et al., "Learning Deep Features for Discriminative Localization", 2016).

    Parameters
    ----------
    head : a linear one.
    maps : (height, width, channels), whose means are the features.
    output : a class, a label, or 0 of a regression.

    Returns
    -------
    Evidence whose mean, with the intercept, is the head's score exactly: each position is masked, standardised and weighted as if it were
    the whole image. So 0 is what the average training image gives. Of classes, scores are compared with their mean over all classes, as
    a softmax does not see what is added to all.
    """
    fitted = head.fitted
    assert isinstance(fitted, LinearHead)
    weights = fitted.weights[:-1, output]
    if fitted.activation == "softmax":
        weights = weights - fitted.weights[:-1].mean(axis=1)
    mean, deviation = fitted.standard.mean.astype(np.float64), fitted.standard.deviation.astype(np.float64)
    kept = maps[:, :, head.columns].astype(np.float64)
    return Evidence(output, ((kept - mean) / deviation) @ weights)


def occlusion(outputs: Outputs, pixels: NDArray[Any], wanted: list[int]) -> list[Evidence]:
    """How much an output falls where a square is covered (M. D. Zeiler and R. Fergus, "Visualizing and Understanding CNNs", 2014).

    Parameters
    ----------
    outputs : what the head says of images.
    pixels : (size, size, 3), the prepared image; the square has its mean colour.
    wanted : numbers of outputs.

    Returns
    -------
    Evidence of each: at each of 10 x 10 places, the mean fall of the probability (or value) over the squares that cover it.
    """
    size = len(pixels)
    edges = np.linspace(0, size, STEPS + 1).round().astype(int)
    wide = STEPS // SQUARES
    places = [(row, column) for row in range(STEPS - wide + 1) for column in range(STEPS - wide + 1)]
    covered = np.repeat(pixels[None], len(places) + 1, axis=0)
    colour = pixels.mean(axis=(0, 1), dtype=np.float64).astype(pixels.dtype)
    for image, (row, column) in zip(covered[1:], places, strict=True):
        image[edges[row] : edges[row + wide], edges[column] : edges[column + wide]] = colour
    found = outputs(covered)
    falls = found[0] - found[1:]
    sums, counts = np.zeros((STEPS, STEPS, falls.shape[1])), np.zeros((STEPS, STEPS, 1))
    for fall, (row, column) in zip(falls, places, strict=True):
        sums[row : row + wide, column : column + wide] += fall
        counts[row : row + wide, column : column + wide] += 1
    return [Evidence(output, (sums / counts)[:, :, output]) for output in wanted]
