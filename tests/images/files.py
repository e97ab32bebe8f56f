"""Image files of every kind, made from a photo that scikit-learn ships."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image

from trunkline.images import DECODER
from trunkline.specs import Recipe

PHOTOS = {
    name: (Path(sklearn.datasets.__file__).parent / "images" / f"{name}.jpg").read_bytes() for name in ("china", "flower")
}
CHINA = Image.open(io.BytesIO(PHOTOS["china"])).convert("RGB")
PHOTO = CHINA.crop((200, 100, 360, 220))  # 160 x 120, full of detail


def recipe(**said: object) -> Recipe:
    """The default way to 224 x 224 uint8 pixels, but for what is said."""
    fixed = {
        "backbone": "b",
        "weights": "0" * 16,
        "layers": ("x",),
        "normalisation": "n",
        "precision": "f32",
        "dtype": "float32",
    }
    way = {"size": 224, "fit": "crop", "kernel": "bilinear", "decoder": DECODER}
    return Recipe.model_validate(fixed | way | said)


def encoded(image: Image.Image, form: str, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()


def turned(image: Image.Image, form: str, orientation: int, **how: object) -> bytes:
    """With an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, form, exif=exif, **how)


def with_alpha(image: Image.Image) -> Image.Image:
    """Every opacity from 0 to 255."""
    height, width = image.height, image.width
    opacity = (np.arange(height * width, dtype=np.uint32) % 256).astype(np.uint8).reshape(height, width)
    both = image.convert("RGBA") if image.mode == "RGB" else image.convert("LA")
    both.putalpha(Image.fromarray(opacity))
    return both


def deep(image: Image.Image) -> Image.Image:
    """16-bit grey that uses its lower bits."""
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return Image.fromarray(grey ^ (np.arange(grey.size, dtype=np.uint16).reshape(grey.shape) & 0xFF))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(
    width: int, height: int, compressed: bytes = b"", *, colours: int = 2, bits: int = 8, interlaced: int = 0, more: bytes = b""
):
    """A PNG from its parts; `more` are chunks before the data."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced)
    chunks = chunk(b"IHDR", header) + more + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def rows_of(image: Image.Image) -> bytes:
    """A PNG's data before compression, unfiltered."""
    return b"".join(b"\0" + row.tobytes() for row in np.asarray(image))


def tiff_of(image: Image.Image, data: bytes | None = None, changed: dict[int, tuple[int, int, int]] | None = None) -> bytes:
    """An uncompressed RGB TIFF whose directory stands before its data, in one strip; `changed` says tag → (type, count, value)."""
    data = image.tobytes() if data is None else data
    start = 8 + 2 + 12 * 10 + 4 + 6
    tags = {
        256: (4, 1, image.width),
        257: (4, 1, image.height),
        258: (3, 3, start - 6),
        259: (3, 1, 1),
        262: (3, 1, 2),
        273: (4, 1, start),
        277: (3, 1, 3),
        278: (4, 1, image.height),
        279: (4, 1, len(data)),
        284: (3, 1, 1),
    } | (changed or {})
    entries = b"".join(struct.pack("<HHII", tag, *values) for tag, values in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + struct.pack("<HHH", 8, 8, 8) + data


def without_adobe(jpeg: bytes) -> bytes:
    """The same JPEG without Adobe's segment."""
    at = jpeg.index(b"\xff\xee\0\x0eAdobe")
    return jpeg[:at] + jpeg[at + 16 :]


def as_ycck(jpeg: bytes) -> bytes:
    """A CMYK JPEG whose Adobe segment says that its inks are stored as YCCK."""
    at = jpeg.index(b"Adobe") + 11
    return jpeg[:at] + b"\x02" + jpeg[at + 1 :]


def _four_ways(image: Image.Image) -> dict[str, Callable[[], bytes]]:
    palette = image.quantize(64)
    cmyk = image.convert("CMYK")
    return {
        "jpeg": lambda: encoded(image, "JPEG", quality=90),
        "jpeg-progressive": lambda: encoded(image, "JPEG", quality=90, progressive=True),
        "jpeg-restarts": lambda: encoded(image, "JPEG", quality=90, restart_marker_rows=1),
        "jpeg-grey": lambda: encoded(image.convert("L"), "JPEG"),
        "jpeg-exif": lambda: turned(image, "JPEG", 6),
        "jpeg-cmyk": lambda: encoded(cmyk, "JPEG"),
        "jpeg-cmyk-progressive": lambda: encoded(cmyk, "JPEG", progressive=True),
        "jpeg-cmyk-plain": lambda: without_adobe(encoded(cmyk, "JPEG")),
        "jpeg-ycck": lambda: as_ycck(encoded(cmyk, "JPEG")),
        "png": lambda: encoded(image, "PNG"),
        "png-stored": lambda: encoded(image, "PNG", compress_level=0),
        "png-alpha": lambda: encoded(with_alpha(image), "PNG"),
        "png-grey-alpha": lambda: encoded(with_alpha(image.convert("L")), "PNG"),
        "png-palette": lambda: encoded(palette, "PNG"),
        "png-palette-clear": lambda: encoded(palette, "PNG", transparency=3),
        "png-deep": lambda: encoded(deep(image), "PNG"),
        "png-bits": lambda: encoded(image.convert("1"), "PNG"),
        "png-animated": lambda: encoded(image, "PNG", save_all=True, append_images=[image.rotate(90)]),
        "png-interlaced": lambda: png_of(1, 1, zlib.compress(b"\0abc"), interlaced=1),
        "bmp": lambda: encoded(image, "BMP"),
        "bmp-palette": lambda: encoded(palette, "BMP"),
        "bmp-bits": lambda: encoded(image.convert("1"), "BMP"),
        "bmp-alpha": lambda: encoded(with_alpha(image), "BMP"),
        "gif": lambda: encoded(palette, "GIF"),
        "gif-straight": lambda: encoded(palette, "GIF", interlace=0),
        "gif-clear": lambda: encoded(palette, "GIF", transparency=3),
        "gif-animated": lambda: encoded(
            palette, "GIF", save_all=True, append_images=[image.rotate(90).quantize(9)], disposal=2
        ),
        "webp": lambda: encoded(image, "WEBP", quality=90),
        "webp-lossless": lambda: encoded(image, "WEBP", lossless=True),
        "webp-alpha": lambda: encoded(with_alpha(image), "WEBP"),
        "webp-animated": lambda: encoded(image, "WEBP", save_all=True, append_images=[image.rotate(90)]),
        "tiff": lambda: encoded(image, "TIFF"),
        "tiff-directory-first": lambda: tiff_of(image),
        "tiff-strips": lambda: encoded(image, "TIFF", tiffinfo={278: 16}),
        "tiff-lzw": lambda: encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": lambda: encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-packbits": lambda: encoded(image, "TIFF", compression="packbits"),
        "tiff-jpeg": lambda: encoded(image, "TIFF", compression="jpeg"),
        "tiff-fax": lambda: encoded(image.convert("1"), "TIFF", compression="group4"),
        "tiff-cmyk": lambda: encoded(cmyk, "TIFF"),
        "tiff-alpha": lambda: encoded(with_alpha(image), "TIFF"),
        "tiff-deep": lambda: encoded(deep(image), "TIFF"),
        "tiff-float": lambda: encoded(Image.fromarray(np.asarray(image.convert("L"), np.float32)), "TIFF"),
        "tiff-turned": lambda: turned(image, "TIFF", 6),
        "tiff-pages": lambda: encoded(image, "TIFF", save_all=True, append_images=[image.rotate(90)]),
        "tiff-big": lambda: encoded(image, "TIFF", big_tiff=True),
    }


def kinds(image: Image.Image = PHOTO) -> dict[str, bytes]:
    """A file of every kind, by name; the first word of the name is the format."""
    return {name: make() for name, make in _four_ways(image).items()}
