"""From an image's bytes to oriented, resized RGB pixels; every failure has a reason.

JPEG is decoded by libjpeg-turbo in strict mode (a truncated file is an error, not a grey area), everything else by Pillow.
The reasons: empty, not-an-image, unsupported, truncated, corrupt, too-large.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trunkline.errors import UnreadableImage

Pixels = NDArray[np.uint8]

DECODER = "libjpeg-turbo+pillow/1"  # enters the recipe: raise the number when decoding changes pixels
MAX_PIXELS = 100_000_000
EXIF_ORIENTATION = 0x0112
EXIF_SEARCH = 2**16  # EXIF is the first segment, where there is any
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_KERNELS = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}

cv2.setNumThreads(1)  # images are decoded in parallel, each on one thread
Image.MAX_IMAGE_PIXELS = None  # checked here, before any pixel is decoded
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # odd metadata is not the user's concern


def decode(content: bytes) -> Pixels:
    """Bytes to pixels, upright.

    Parameters
    ----------
    content : the whole file: JPEG, PNG, WebP, BMP, GIF or TIFF; of an animation the first frame.

    Returns
    -------
    (height, width, 3) uint8 RGB. Transparency is laid over white, 16 bits are scaled to 8.

    Raises
    ------
    UnreadableImage : with the reason.
    """
    if not content:
        raise UnreadableImage("empty", "zero bytes")
    try:
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg(content)
        return _by_pillow(content)
    except UnidentifiedImageError as error:
        raise UnreadableImage("not-an-image", _seems(content)) from error
    except Exception as error:
        raise _reason(error) from error


def prepare(pixels: Pixels, size: int, fit: str, kernel: str) -> Pixels:
    """Crop and resize to a square.

    Parameters
    ----------
    pixels : (height, width, 3) uint8.
    size : side of the square.
    fit : `crop` takes the largest central square, `stretch` the whole image.
    kernel : `bilinear` (no antialiasing) or `area` (averages when it shrinks).

    Returns
    -------
    (size, size, 3) uint8.
    """
    height, width = pixels.shape[:2]
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    enlarges = min(pixels.shape[:2]) < size
    resized: Any = cv2.resize(pixels, (size, size), interpolation=_KERNELS["bilinear" if enlarges else kernel])
    return np.asarray(resized, np.uint8)


def thumbnail(pixels: Pixels, side: int = 160) -> bytes:
    """A small JPEG that keeps the proportions."""
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    kernel = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), kernel)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def _jpeg(content: bytes) -> Pixels:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    _check_size(width, height)
    if colours in ("CMYK", "YCCK"):
        return _by_pillow(content)
    pixels = np.asarray(simplejpeg.decode_jpeg(content, "RGB", strict=True))
    return _upright(pixels, _opened(content)) if b"Exif\0\0" in content[:EXIF_SEARCH] else pixels


def _by_pillow(content: bytes) -> Pixels:
    image = _opened(content)
    return _upright(_rgb(image), image)


def _opened(content: bytes) -> Image.Image:
    """The header alone is read; pixels are decoded on `load`."""
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    _check_size(*image.size)
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage("too-large", f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded")


def _rgb(image: Image.Image) -> Pixels:
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(np.asarray(image))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _deep_grey(values: NDArray[Any]) -> Pixels:
    """16-bit and float greyscale to 8 bits; float images are taken to span 0 to 1, or 0 to 255."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
        scaled = values * 255.0 if values.max() <= 1.0 else values
    else:
        scaled = values / 257.0
    grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _upright(pixels: Pixels, image: Image.Image) -> Pixels:
    """Undo the EXIF orientation, 1 to 8; EXIF data that cannot be read counts as 1."""
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:
        orientation = 1
    match orientation:
        case 2:
            pixels = pixels[:, ::-1]
        case 3:
            pixels = pixels[::-1, ::-1]
        case 4:
            pixels = pixels[::-1]
        case 5:
            pixels = pixels.transpose(1, 0, 2)
        case 6:
            pixels = np.rot90(pixels, -1)
        case 7:
            pixels = pixels[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            pixels = np.rot90(pixels, 1)
    return np.ascontiguousarray(pixels)


def _seems(content: bytes) -> str:
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start.startswith((b"<svg", b"<?xml")):
        return "XML or SVG"
    return f"starts with {content[:8].hex(' ')}"


def _reason(error: Exception) -> UnreadableImage:
    """The decoders' many words for the same thing, as one reason."""
    if isinstance(error, UnreadableImage):
        return error
    words = " ".join(str(error).split())
    lowered = words.lower()
    if any(
        sign in lowered for sign in ("truncated", "premature end", "unexpected end", "not enough data", "broken data stream")
    ):
        return UnreadableImage("truncated", words)
    if isinstance(error, MemoryError | Image.DecompressionBombError):
        return UnreadableImage("too-large", words)
    if isinstance(error, NotImplementedError) or "unsupported" in lowered:
        return UnreadableImage("unsupported", words)
    return UnreadableImage("corrupt", words or type(error).__name__)
