"""Maps as colours: heat over an image, and a map on its own."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
GREY, STRONGEST = 0.75, 0.85  # how much of the image's colour is taken away, and of the image under the greatest heat


def over(pixels: NDArray[Any], values: NDArray[np.floating[Any]], most: float) -> Picture:
    """Heat over an image: nothing where a value is 0 or below, glowing where it is `most`.

    Parameters
    ----------
    pixels : (size, size, 3), RGB from 0 to 255.
    values : (height, width), of any size; stretched over the image.
    most : the value of the greatest heat.

    Returns
    -------
    (size, size, 3) uint8.
    """
    size = len(pixels)
    heat = np.clip(stretched(values, size) / most if most > 0 else np.zeros((size, size)), 0.0, 1.0)
    image = pixels.astype(np.float64)
    grey = (image @ [0.299, 0.587, 0.114])[:, :, None]
    image = GREY * grey + (1 - GREY) * image
    share = STRONGEST * np.sqrt(heat)[:, :, None]
    return np.rint((1 - share) * image + share * coloured(0.25 + 0.7 * heat)).astype(np.uint8)


def coloured(values: NDArray[np.floating[Any]]) -> Picture:
    """(height, width) from 0 to 1 → (height, width, 3) uint8 of Matplotlib's inferno, dark to light."""
    shades = np.rint(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(shades, cv2.COLORMAP_INFERNO)[:, :, ::-1])


def stretched(values: NDArray[np.floating[Any]], size: int) -> NDArray[np.float64]:
    """(height, width) → (size, size), bilinear."""
    return np.asarray(cv2.resize(np.ascontiguousarray(values, np.float64), (size, size), interpolation=cv2.INTER_LINEAR))


def greatest(maps: list[NDArray[np.float64]]) -> float:
    """The highest value of several maps, to which all are compared; 0 where none is above it."""
    return max([0.0, *(float(each.max()) for each in maps)])
