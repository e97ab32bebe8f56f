"""How much memory an image takes while it is decoded and prepared, from its header: for a budget of bytes in flight.

Bytes at the worst moment, a pixel of the image as stored, RGB and decoder together:

| format | bytes | why |
|---|---|---|
| JPEG | 3 | RGB |
| JPEG with EXIF | 6 | RGB, and the same turned |
| JPEG, CMYK | 7 | inks, RGB |
| JPEG in several scans | 2 a sample more | coefficients of the whole image |
| PNG, BMP | 4, 5, 7 | Pillow's image of 1, 2 or 4 bytes a pixel, RGB |
| GIF | 8 | Pillow's image, what is shown after it, RGB, with the preset `keras` twice |
| TIFF | 9 and a pixel's own bytes, at least 13 | one strip that holds all, Pillow's image, the same turned |
| WebP | 17 and the file twice | libwebp's two canvases, the frame, Pillow's image |

So nothing takes more than 25 bytes a pixel, 2.5 GB for the largest image that is read.
"""

from __future__ import annotations

from trunkline.errors import UnreadableImage
from trunkline.images import jpeg, preparing
from trunkline.images.headers import Header, read_header
from trunkline.images.orientation import EXIF_SEARCH
from trunkline.images.strips import STRIP_PIXELS
from trunkline.images.tensorflow_equal import KERAS_DECODER
from trunkline.specs import Recipe

NO_IMAGE = 64 * 2**10  # what it takes to find out
FIXED = 2**20
STRIP_BYTES = 24  # a pixel of a strip under conversion: up to five copies
RGB = 3
TIFF_PIXEL = 16


def decoded_bytes(content: bytes, recipe: Recipe | None = None) -> int:
    """An upper estimate of the memory that `load` takes at its worst moment, beside the file itself.

    Parameters
    ----------
    content : the whole file; its header alone is looked at.
    recipe : as given to `load`; the default recipe's way where it is left out.

    Returns
    -------
    Bytes; NO_IMAGE for what is no image or is refused by its header. What the C library keeps of freed memory is not counted.
    """
    try:
        header = read_header(content)
    except UnreadableImage:
        return NO_IMAGE
    if header is None:
        return NO_IMAGE
    fixed = FIXED + STRIP_BYTES * min(header.pixels, STRIP_PIXELS)
    pixels = _pixels(header, recipe)
    return fixed + RGB * pixels + max(_decoder_bytes(content, header), _preparation_bytes(content, header, pixels, recipe))


def _pixels(header: Header, recipe: Recipe | None) -> int:
    """Those that come out of the decoder."""
    if header.form != "JPEG" or recipe is None or recipe.decode == "exact" or recipe.decoder == KERAS_DECODER:
        return header.pixels
    factor = jpeg.factor_for(header, recipe.size, recipe.fit)
    return (header.width // factor + 1) * (header.height // factor + 1)


def _decoder_bytes(content: bytes, header: Header) -> int:
    """What the decoder holds beside the RGB pixels."""
    match header.form:
        case "JPEG":
            inks = 4 if header.samples == 4 else 0
            return (inks + (2 * header.samples if header.buffered else 0)) * _padded(header)
        case "PNG" | "BMP":
            return (header.bits // 8 or 1 if header.samples == 1 else 4) * header.pixels
        case "GIF":
            return 5 * header.pixels
        case "TIFF":
            return (6 + min(TIFF_PIXEL, max(4, header.samples * header.bits // 8))) * header.pixels
    return 14 * header.pixels + 2 * len(content)


def _padded(header: Header) -> int:
    """Pixels in whole blocks, of 32 x 32 at most."""
    return (header.width + 31) // 32 * 32 * ((header.height + 31) // 32 * 32)


def _preparation_bytes(content: bytes, header: Header, pixels: int, recipe: Recipe | None) -> int:
    """What is held beside the RGB pixels once they are there: the same turned, one channel, the square."""
    turned = RGB * pixels if header.form == "JPEG" and b"Exif\0\0" in content[:EXIF_SEARCH] else 0
    if recipe is None:
        return turned
    square = 8 * RGB * recipe.size**2
    if recipe.decoder == KERAS_DECODER:
        return square
    value = 4 if recipe.pixels == "float32" else 1
    if recipe.antialias:
        longer, shorter = max(header.width, header.height), min(header.width, header.height)
        passes = preparing.between_passes(longer, shorter, recipe.size)
        return turned + square + value * (2 * pixels + passes)
    return turned + square + (value * pixels if value > 1 else 0)
