"""The preset `keras`: pixels as `keras.utils.image_dataset_from_directory` makes them, without TensorFlow.

That is `tf.io.decode_image(content, channels=3, expand_animations=False)`, then `tf.image.resize(image, (size, size))`: the whole image
stretched, bilinear with half-pixel centres, no antialiasing, float32, and EXIF ignored. Equal to the bit for every JPEG, PNG, BMP and GIF
that TensorFlow reads. What it refuses (TIFF, BMP of 1, 4 or 16 bits a pixel, WebP with alpha) is decoded as `decode` does. What it
lets pass and `decode` does not, such as a JPEG with warnings, stays refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from trunkline.images import by_pillow, decoding, jpeg, jpeg_markers
from trunkline.images.headers import Header
from trunkline.images.orientation import Pixels
from trunkline.images.reasons import reason_of
from trunkline.images.strips import in_strips

KERAS_DECODER = "tensorflow-equal/1"  # enters the recipe: raise the number when decoding changes pixels
ROWS_AT_ONCE = 32  # what is resized together stays in the processor's cache


def decode(content: bytes) -> Pixels:
    """Bytes to pixels.

    Parameters
    ----------
    content : the whole file: JPEG, PNG, WebP, BMP, GIF or TIFF.

    Returns
    -------
    (height, width, 3) uint8 RGB, as stored. Alpha is dropped, not blended; of 16 bits the upper eight are kept; in a GIF what is
    transparent is black; a BMP's palette is ignored, as TensorFlow does.

    Raises
    ------
    UnreadableImage : with a reason out of REASONS.
    """
    try:
        header = decoding.header_of(content)
        match header.form:
            case "JPEG":
                return _jpeg(content, header)
            case "PNG":
                return _png(content, header)
            case "GIF":
                return _gif(content, header)
            case "BMP" if header.bits == 8 and content[30:34] == bytes(4):
                return _bmp(content, header)
        return decoding.decode(content, upright=False)
    except Exception as error:
        raise reason_of(error, content) from error


def resize(pixels: Pixels, size: int) -> NDArray[np.float32]:
    """As `tf.image.resize(pixels, (size, size))`, operation by operation, so that every bit is the same.

    Parameters
    ----------
    pixels : (height, width, 3) uint8, C-contiguous.

    Returns
    -------
    (size, size, 3) float32, from 0 to 255.
    """
    height, width = pixels.shape[:2]
    top, bottom, down = _neighbours(height, size)
    left, right, across = _neighbours(width, size)
    across = np.repeat(across, 4)
    out = np.empty((size, size, 3), np.float32)
    for start in range(0, size, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        both = _four_bytes_a_pixel(pixels[np.concatenate([top[rows], bottom[rows]])])
        values = _taken(both, right)
        first = _taken(both, left)
        values -= first
        values *= across
        values += first
        upper, lower = np.split(values, 2)
        lower -= upper
        lower *= down[rows, None]
        lower += upper
        out[rows] = lower.reshape(-1, size, 4)[:, :, :3]
    return out


def _four_bytes_a_pixel(pixels: Pixels) -> NDArray[np.uint32]:
    """(height, width): pixels of four bytes are gathered much faster than pixels of three."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA)).view(np.uint32)[:, :, 0]


def _taken(pixels: NDArray[np.uint32], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """(height, 4 x columns) float32."""
    return pixels.take(columns, axis=1).view(np.uint8).astype(np.float32)


@lru_cache(maxsize=256)
def _neighbours(length: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each of `size` places: the pixel before, the one after, and how far between them, all in float32 as TensorFlow's kernel."""
    half = np.float32(0.5)
    place = (np.arange(size, dtype=np.float32) + half) * (np.float32(length) / np.float32(size)) - half
    below = np.floor(place)
    before = np.maximum(below, 0).astype(np.int64)
    after = np.minimum(np.ceil(place), length - 1).astype(np.int64)
    return before, after, place - below


def _jpeg(content: bytes, header: Header) -> Pixels:
    """TensorFlow asks libjpeg-turbo for the fast integer transform and smooth upsampling."""
    jpeg.check(content, header)
    if header.samples != 4:
        return np.asarray(simplejpeg.decode_jpeg(content, "RGB", fastdct=True, strict=True))
    inks = np.asarray(simplejpeg.decode_jpeg(content, "CMYK", fastdct=True, strict=True))
    inverted = jpeg_markers.has_adobe_marker(content)

    def rgb(some: NDArray[Any]) -> NDArray[Any]:
        light = (some if inverted else 255 - some).astype(np.uint16)
        return light[..., :3] * light[..., 3:] // 255

    return in_strips(inks, rgb)


def _png(content: bytes, header: Header) -> Pixels:
    image = by_pillow.loaded(by_pillow.opened(content, header), content, header)
    if image.mode.startswith("I"):
        return by_pillow.filled(image, lambda piece: (np.asarray(piece).astype(np.uint16) >> 8)[:, :, None])
    return by_pillow.filled(image, _without_alpha)


def _without_alpha(piece: Image.Image) -> NDArray[np.uint8]:
    if piece.mode in ("RGBA", "LA"):
        values = np.asarray(piece)
        return values[:, :, :3] if piece.mode == "RGBA" else values[:, :, :1]
    return np.asarray(piece.convert("RGB"))


def _gif(content: bytes, header: Header) -> Pixels:
    """The first frame on black, in a picture of the frame's size that starts at the screen's corner."""
    image = by_pillow.opened(content, header)
    left, top, right, bottom = image.tile[0][1]  # type: ignore[attr-defined]
    by_pillow.loaded(image, content, header)
    frame = image.crop((left, top, right, bottom))
    colours = by_pillow.filled(frame, _without_alpha)
    clear = image.info.get("transparency")
    if clear is not None:
        colours[np.asarray(frame) == clear] = 0
    if not (left or top):
        return colours
    out = np.zeros_like(colours)
    out[top:, left:] = colours[: max(0, bottom - 2 * top), : max(0, right - 2 * left)]
    return out


def _bmp(content: bytes, header: Header) -> Pixels:
    image = by_pillow.loaded(by_pillow.opened(content, header), content, header)
    return by_pillow.filled(image, lambda piece: np.asarray(piece)[:, :, None])
