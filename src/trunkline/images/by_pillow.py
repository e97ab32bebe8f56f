"""PNG, WebP, BMP, GIF and TIFF by Pillow; of an animation the first frame.

Pillow is strict about truncation as long as LOAD_TRUNCATED_IMAGES is off. Three things it lets pass are found here and in
`tiff_directory.py`: a PNG whose data ends exactly one row early, TIFF strips that do not cover the image, and a TIFF whose data starts
inside its header.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trunkline.errors import UnreadableImage
from trunkline.images import orientation, tiff_directory
from trunkline.images.headers import MAX_PIXELS, Header, check_size
from trunkline.images.orientation import Pixels
from trunkline.images.strips import boxes

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # a second line; the first is read_header
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # odd metadata is not the user's concern
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(content: bytes, header: Header, *, upright: bool) -> Pixels:
    """Pixels, as stored or upright.

    Returns
    -------
    (height, width, 3) uint8 RGB, maybe a view. Transparency is laid over white, 16 bits are scaled to 8.

    Raises
    ------
    UnreadableImage : Pillow does not know this variant of the format, or what it lets pass.
    Exception : Pillow's own.
    """
    image = opened(content, header)
    if header.form == "TIFF":
        turned = orientation.of_image(image)
        pixels = _rgb(loaded(image, content, header))  # Pillow undoes it here, and forgets it
        return pixels if upright else orientation.put_back(pixels, turned)
    pixels = _rgb(loaded(image, content, header))
    return orientation.undone(pixels, orientation.of_image(image)) if upright else pixels


def opened(content: bytes, header: Header) -> Image.Image:
    """The header alone is read; pixels are decoded on `load`."""
    if header.form == "TIFF":
        tiff_directory.read(content).check()
    try:
        image = Image.open(io.BytesIO(content), formats=(header.form,))
    except UnidentifiedImageError as error:
        reason = "unsupported" if header.form in ("TIFF", "BMP") else "corrupt"
        raise UnreadableImage(
            reason, f"a {header.form} of {header.width:,} x {header.height:,} that Pillow cannot read"
        ) from error
    check_size(*image.size)
    return image


def loaded(image: Image.Image, content: bytes, header: Header) -> Image.Image:
    """The same image with its pixels read.

    Raises UnreadableImage for a palette that is missing, and for a PNG whose data ends one row early; Pillow leaves that row black
    without a word.
    """
    image.load()
    if image.mode == "P" and image.palette is None:
        raise UnreadableImage("corrupt", "its pixels are numbers of colours, and it holds no palette")
    if header.form != "PNG" or np.asarray(image.crop((0, image.height - 1, image.width, image.height))).any():
        return image
    needed = _png_bytes(header, interlaced=content[28] == 1)
    there = _inflated_bytes(content, needed)
    if there < needed:
        raise UnreadableImage("truncated", f"{there:,} of {needed:,} bytes of pixels")
    return image


def filled(image: Image.Image, convert: Callable[[Image.Image], NDArray[Any]]) -> Pixels:
    """(height, width, 3) uint8, converted piece by piece."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    whole = (0, 0, image.width, image.height)
    for box in boxes(image.width, image.height):
        left, top, right, bottom = box
        out[top:bottom, left:right] = convert(image if box == whole else image.crop(box))
    return out


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I") or image.mode == "F":
        return filled(image, _deep_grey(image))
    return filled(image, _over_white if image.has_transparency_data else _plain)


def _plain(piece: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(piece.convert("RGB"))


def _over_white(piece: Image.Image) -> NDArray[np.uint8]:
    rgba = piece.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB"))


def _deep_grey(image: Image.Image) -> Callable[[Image.Image], NDArray[Any]]:
    """16-bit and float greyscale to 8 bits; float images are taken to span 0 to 1, or 0 to 255."""
    scale = 1.0
    if image.mode == "F":
        pieces = (np.nan_to_num(np.asarray(image.crop(box))).max() for box in boxes(image.width, image.height))
        scale = 255.0 if max(pieces) <= 1.0 else scale

    def convert(piece: Image.Image) -> NDArray[Any]:
        values = np.asarray(piece)
        scaled = np.nan_to_num(values) * scale if image.mode == "F" else values / 257.0
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)[:, :, None]

    return convert


def _png_bytes(header: Header, *, interlaced: bool) -> int:
    """Bytes of all rows with their filter bytes; interlaced, those of the seven passes (PNG specification, 8.2)."""

    def of(width: int, height: int) -> int:
        return height * (1 + -(-width * header.samples * header.bits // 8)) if width and height else 0

    if not interlaced:
        return of(header.width, header.height)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return sum(of(-(-(header.width - x) // dx), -(-(header.height - y) // dy)) for x, y, dx, dy in passes)


def _inflated_bytes(content: bytes, enough: int) -> int:
    """Bytes that the IDAT chunks inflate to, counted up to `enough`; nothing is kept."""
    stream, count, at = zlib.decompressobj(), 0, 8
    while at + 8 <= len(content) and count < enough:
        length, kind = struct.unpack_from(">I4s", content, at)
        data = content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while data and count < enough:
            count += len(stream.decompress(data, 2**20))
            data = stream.unconsumed_tail
        at += 12 + length
    return count
