"""RGB pixels to the network's square: which part, where, and by which kernel."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trunkline.images.orientation import Pixels

_OPENCV = {
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
PIXELS_BETWEEN_PASSES = 2**24

cv2.setNumThreads(1)  # images are decoded in parallel, each on one thread


def prepare(
    pixels: Pixels, size: int, fit: str, kernel: str, *, antialias: bool = False, dtype: str = "uint8"
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Crop, stretch or pad to a square.

    Parameters
    ----------
    pixels : (height, width, 3) uint8.
    size : side of the square.
    fit : `crop` takes the largest central square, its top left at ((height - side) // 2, (width - side) // 2); `stretch` the whole
        image; `pad` the whole image on black, as `padded_sides` and `margins` say.
    kernel : `bilinear`, `bicubic` (a = -0.75) and `lanczos` (8 x 8) are OpenCV's INTER_LINEAR, INTER_CUBIC and INTER_LANCZOS4, which
        read the nearest 4, 16 or 64 pixels however much the image shrinks; `area` is INTER_AREA, the mean of what each pixel covers, and
        bilinear where a side grows.
    antialias : Pillow's `resize` instead, whose BILINEAR, BICUBIC (a = -0.5) and LANCZOS (a = 3) widen with the shrinking; so
        does torchvision with antialias=True.
    dtype : uint8, rounded; or float32 without rounding, from 0 to 255.

    Returns
    -------
    (size, size, 3) of that dtype, C-contiguous.
    """
    if fit == "crop":
        pixels = central_square(pixels)
    if fit != "pad":
        return _resized(pixels, size, size, kernel, antialias, dtype)
    height, width = padded_sides(pixels.shape[0], pixels.shape[1], size)
    top, left = margins(height, width, size)
    square = np.zeros((size, size, 3), dtype)
    square[top : top + height, left : left + width] = _resized(pixels, height, width, kernel, antialias, dtype)
    return square


def central_square(pixels: Pixels) -> Pixels:
    """The largest one, as a view."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def padded_sides(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width inside a padded square: the longer side is `size`, the other one in proportion, halves up, at least 1."""
    longer = max(height, width)
    high, wide = ((2 * side * size + longer) // (2 * longer) for side in (height, width))
    return max(1, high), max(1, wide)


def margins(height: int, width: int, size: int) -> tuple[int, int]:
    """Black rows above and columns to the left; where they cannot be equal, the other side has one more."""
    return (size - height) // 2, (size - width) // 2


def thumbnail(pixels: Pixels, side: int = 160, quality: int = 85) -> bytes:
    """A small JPEG that keeps the proportions; its longer side has `side` pixels."""
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    kernel = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), kernel)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _resized(
    pixels: Pixels, height: int, width: int, kernel: str, antialias: bool, dtype: str
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """(height, width, 3). Bicubic and Lanczos overshoot; in float32 what lies outside 0 to 255 is clipped, as it is in uint8."""
    if kernel == "area" and (pixels.shape[0] < height or pixels.shape[1] < width):
        kernel = "bilinear"
    if dtype == "uint8" and not antialias:
        return _by_opencv(pixels, height, width, kernel)
    out = np.empty((height, width, 3), dtype)
    for channel in range(3):  # one at a time: a whole float32 image would be four times as large as it is now
        out[:, :, channel] = _one_channel(pixels[:, :, channel], height, width, kernel, antialias, dtype)
    return out


def _one_channel(values: NDArray[np.uint8], height: int, width: int, kernel: str, antialias: bool, dtype: str) -> NDArray[Any]:
    contiguous = np.ascontiguousarray(values, dtype)
    return np.asarray(np.clip((_by_pillow if antialias else _by_opencv)(contiguous, height, width, kernel), 0, 255))


def _by_opencv(values: NDArray[Any], height: int, width: int, kernel: str) -> NDArray[Any]:
    return np.asarray(cv2.resize(values, (width, height), interpolation=_OPENCV[kernel]))


def _by_pillow(values: NDArray[Any], height: int, width: int, kernel: str) -> NDArray[Any]:
    """Pillow resizes rows first; those of an image that is very high and narrow would grow large, so there columns come first."""
    image = Image.fromarray(values)
    if between_passes(image.height, image.width, width) < image.height * width:
        image = image.resize((image.width, height), _PILLOW[kernel])
    return np.asarray(image.resize((width, height), _PILLOW[kernel]))


def between_passes(height: int, width: int, wide: int) -> int:
    """Pixels that Pillow holds at most between the two passes of a resize from `width` to `wide`."""
    return min(height * wide, max(PIXELS_BETWEEN_PASSES, height * width))
