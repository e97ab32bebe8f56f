"""EXIF orientation: read, undone, or put back where Pillow has undone it."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

EXIF_ORIENTATION = 0x0112
EXIF_SEARCH = 2**16  # EXIF is the first segment, where there is any
_INVERSE = {6: 8, 8: 6}  # the others are their own


def of_jpeg(content: bytes) -> int:
    """1 to 8; 1 where there is no EXIF that can be read."""
    if b"Exif\0\0" not in content[:EXIF_SEARCH]:
        return 1
    try:
        return of_image(Image.open(io.BytesIO(content), formats=("JPEG",)))
    except Exception:
        return 1


def of_image(image: Image.Image) -> int:
    """1 to 8; 1 where there is none that can be read."""
    try:
        found = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def undone(pixels: Pixels, orientation: int) -> Pixels:
    """(height, width, 3) as stored to upright, as a view; 1 changes nothing."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.transpose(1, 0, 2)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            return np.rot90(pixels, 1)
    return pixels


def put_back(pixels: Pixels, orientation: int) -> Pixels:
    """Upright to as stored, as a view."""
    return undone(pixels, _INVERSE.get(orientation, orientation))
