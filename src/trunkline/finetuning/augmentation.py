"""Augmentation: what an image becomes in one epoch. A function of the seed, the epoch and the image's place alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.specs import AugmentationSpec

ASPECT = 4 / 3  # of a cut-out, at most

Pixels = NDArray[Any]


def augmented(pixels: Pixels, how: AugmentationSpec, random: np.random.Generator) -> Pixels:
    """One image, mirrored, cropped and recoloured.

    Parameters
    ----------
    pixels : (size, size, 3) uint8 or float32, RGB from 0 to 255; it stays as it is.
    random : drawn from in a fixed order.

    Returns
    -------
    (size, size, 3) of the same dtype.
    """
    if how.flip and random.random() < 0.5:
        pixels = pixels[:, ::-1]
    if how.crop < 1:
        pixels = _cropped(pixels, how.crop, random)
    if how.colour:
        pixels = _recoloured(pixels, how.colour, random)
    return pixels


def mixed(batch: NDArray[Any], truth: NDArray[np.float32], alpha: float, random: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Mixup: each image blended with another of the batch, and their labels likewise.

    H. Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018); one share a batch, drawn from Beta(alpha, alpha).

    Parameters
    ----------
    batch : (n, size, size, 3).
    truth : (n, classes) float32.

    Returns
    -------
    (n, size, size, 3) float32, and (n, classes) float32.
    """
    share = np.float32(random.beta(alpha, alpha))
    share, rest = max(share, 1 - share), min(share, 1 - share)
    return share * batch + rest * batch[::-1].astype(np.float32), share * truth + rest * truth[::-1]


def _cropped(pixels: Pixels, least: float, random: np.random.Generator) -> Pixels:
    """A random part of at least this share of the area, enlarged to the whole (C. Szegedy et al., 2015)."""
    import cv2

    size = len(pixels)
    side = math.sqrt(random.uniform(least, 1.0)) * size
    aspect = math.exp(random.uniform(-math.log(ASPECT), math.log(ASPECT)) / 2)
    width, height = min(size, max(1, round(side * aspect))), min(size, max(1, round(side / aspect)))
    left, top = (int(random.integers(size - length + 1)) for length in (width, height))
    part = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    resized: Pixels = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
    return resized


def _recoloured(pixels: Pixels, most: float, random: np.random.Generator) -> Pixels:
    """Brightness, contrast and saturation, each by a factor of its own."""
    brightness, contrast, saturation = random.uniform(1 - most, 1 + most, 3).astype(np.float32)
    grey = np.array([0.299, 0.587, 0.114], np.float32)
    # contrast keeps the mean, saturation the grey of each pixel; both are linear, so one matrix and one offset do it all
    matrix = brightness * contrast * (saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * grey)
    offset = brightness * (1 - contrast) * np.float32(pixels.reshape(-1, 3).mean(axis=0) @ grey)
    changed: Pixels = np.clip(pixels.reshape(-1, 3).astype(np.float32) @ matrix.T + offset, 0, 255).reshape(pixels.shape)
    return changed if pixels.dtype == np.float32 else np.rint(changed).astype(np.uint8)
