"""Conversions over a few rows at a time, so that a large image is never copied whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIP_PIXELS = 2**16


def boxes(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of pieces of at most STRIP_PIXELS that cover an image once."""
    wide = min(width, STRIP_PIXELS)
    high = max(1, STRIP_PIXELS // wide)
    for top in range(0, height, high):
        for left in range(0, width, wide):
            yield left, top, min(left + wide, width), min(top + high, height)


def in_strips(values: NDArray[Any], convert: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[np.uint8]:
    """(height, width, …) to (height, width, 3) uint8, each pixel by itself."""
    height, width = values.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    for left, top, right, bottom in boxes(width, height):
        out[top:bottom, left:right] = convert(values[top:bottom, left:right])
    return out
