"""Bytes to RGB pixels, upright or as stored."""

from __future__ import annotations

import numpy as np

from trunkline.errors import UnreadableImage
from trunkline.images import by_pillow, jpeg, orientation
from trunkline.images.headers import Header, read_header
from trunkline.images.orientation import Pixels
from trunkline.images.reasons import reason_of, seems

DECODER = "libjpeg-turbo+pillow/1"  # enters the recipe: raise the number when decoding changes pixels


def decode(content: bytes, *, upright: bool = True) -> Pixels:
    """Bytes to pixels.

    Parameters
    ----------
    content : the whole file: JPEG, PNG, WebP, BMP, GIF or TIFF; of an animation the first frame.
    upright : undo the EXIF orientation.

    Returns
    -------
    (height, width, 3) uint8 RGB, C-contiguous. Transparency is laid over white, 16 bits are scaled to 8.

    Raises
    ------
    UnreadableImage : with a reason out of REASONS.
    """
    return np.ascontiguousarray(view(content, upright=upright))


def view(content: bytes, *, upright: bool, reduced_for: tuple[int, str] | None = None) -> Pixels:
    """As `decode`, without a copy of what is turned.

    Parameters
    ----------
    reduced_for : the size of the square and the fit; large JPEGs are then decoded at 1/2, 1/4 or 1/8, as far as that leaves enough.
    """
    try:
        header = header_of(content)
        if header.form != "JPEG":
            return by_pillow.decode(content, header, upright=upright)
        factor = jpeg.factor_for(header, *reduced_for) if reduced_for else 1
        pixels = jpeg.decode(content, header, factor)
        return orientation.undone(pixels, orientation.of_jpeg(content)) if upright else pixels
    except Exception as error:
        raise reason_of(error, content) from error


def reduction(content: bytes, size: int, fit: str) -> int:
    """The factor by which `view` reduces this file for a square of that size: 1, 2, 4 or 8; 1 where it is no JPEG, or none at all."""
    try:
        header = header_of(content)
    except UnreadableImage:
        return 1
    return jpeg.factor_for(header, size, fit) if header.form == "JPEG" else 1


def header_of(content: bytes) -> Header:
    """The header. Raises UnreadableImage where there is none, or one that is refused."""
    if not content:
        raise UnreadableImage("empty", "zero bytes")
    header = read_header(content)
    if header is None:
        raise UnreadableImage("not-an-image", seems(content))
    return header
