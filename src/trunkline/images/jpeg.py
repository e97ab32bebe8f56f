"""JPEG by libjpeg-turbo in strict mode: what it would only warn of, and fill with grey, is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from trunkline.errors import UnreadableImage
from trunkline.images import jpeg_markers
from trunkline.images.headers import Header
from trunkline.images.orientation import Pixels
from trunkline.images.strips import in_strips

FACTORS = (8, 4, 2)


def decode(content: bytes, header: Header, factor: int = 1) -> Pixels:
    """Pixels as stored.

    Parameters
    ----------
    content : the whole file.
    header : its header.
    factor : 1, or 2, 4 or 8 to decode at a fraction of the size (libjpeg's scaled inverse DCT).

    Returns
    -------
    (height / factor, width / factor, 3) uint8 RGB, halves up; libjpeg rounds up always, and a last row or column that covers less
    than half a block would shift the picture more than its absence does. CMYK is taken as inverted, with or without Adobe's
    marker, and converted without a profile, both as Pillow does.

    Raises
    ------
    UnreadableImage : more than 8 bits a sample, or too many scans.
    ValueError : the decoder's own words.
    """
    check(content, header)
    colours = "CMYK" if header.samples == 4 else "RGB"
    at_least = (-(-header.height // factor), -(-header.width // factor)) if factor > 1 else (0, 0)
    pixels = np.asarray(simplejpeg.decode_jpeg(content, colours, min_height=at_least[0], min_width=at_least[1], strict=True))
    pixels = pixels[: reduced(header.height, factor), : reduced(header.width, factor)]
    return in_strips(pixels, _rgb_of_inverted_cmyk) if colours == "CMYK" else pixels


def check(content: bytes, header: Header) -> None:
    """Raise UnreadableImage where decoding would fail late or take for ever."""
    if header.bits != 8:
        raise UnreadableImage("unsupported", f"a JPEG with a precision of {header.bits} bits a sample; 8 are read")
    if header.buffered:  # otherwise the first scan is the only one
        jpeg_markers.check_scans(content, header.pixels)


def factor_for(header: Header, size: int, fit: str) -> int:
    """The largest of 8, 4, 2 and 1 that leaves enough for a square of `size`.

    The shorter side keeps at least `size` pixels where the square is filled (crop, stretch), the longer side where it is padded.
    """
    sides = (header.height, header.width)
    side = max(sides) if fit == "pad" else min(sides)
    return next((factor for factor in FACTORS if reduced(side, factor) >= size), 1)


def reduced(side: int, factor: int) -> int:
    """Pixels of a side after a reduction."""
    return max(1, (2 * side + factor) // (2 * factor))


def _rgb_of_inverted_cmyk(inverted: NDArray[Any]) -> NDArray[Any]:
    """(…, 4) uint8 to (…, 3): K·(1 - C) and so on, rounded in Pillow's integer arithmetic."""
    white = inverted[..., 3:].astype(np.uint16)
    ink = (255 - inverted[..., :3]).astype(np.uint16)
    ink *= white
    ink += 128
    return white - ((ink + (ink >> 8)) >> 8)
