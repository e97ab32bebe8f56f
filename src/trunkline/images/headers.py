"""Format and size of an image from its first bytes: limits are checked before any decoder allocates memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.errors import UnreadableImage
from trunkline.images import jpeg_markers, tiff_directory

MAX_PIXELS = 100_000_000
MAX_SIDE = 1_000_000


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Parameters
    ----------
    form : JPEG, PNG, WEBP, BMP, GIF or TIFF.
    width, height : pixels as stored, before any orientation.
    samples : values a pixel, of JPEG and TIFF.
    bits : a value, of JPEG, PNG and TIFF; a pixel, of BMP.
    buffered : a JPEG whose coefficients are held in memory, as it has several scans.
    """

    form: str
    width: int
    height: int
    samples: int = 3
    bits: int = 8
    buffered: bool = False

    @property
    def pixels(self) -> int:
        return self.width * self.height


def read_header(content: bytes) -> Header | None:
    """The header of a file; None where the first bytes are no known format's.

    Raises
    ------
    UnreadableImage : `truncated` where the file ends inside it, `corrupt` where it makes no sense, `too-large` above MAX_PIXELS or
        MAX_SIDE.
    """
    for magic, read in _READERS:
        if content.startswith(magic):
            try:
                header = read(content)
            except (struct.error, IndexError) as error:
                raise UnreadableImage("truncated", f"the file ends inside its header, after {len(content):,} bytes") from error
            if header is not None:
                check_size(header.width, header.height)
            return header
    return None


def check_size(width: int, height: int) -> None:
    """Raise UnreadableImage `too-large` above MAX_PIXELS, or for a side above MAX_SIDE; `corrupt` for a side of none."""
    if width * height > MAX_PIXELS:
        raise UnreadableImage("too-large", f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded")
    if max(width, height) > MAX_SIDE:
        raise UnreadableImage("too-large", f"{width:,} x {height:,} pixels; a side may have {MAX_SIDE:,} at most")
    if width <= 0 or height <= 0:
        raise UnreadableImage("corrupt", f"{width:,} x {height:,} pixels")


def _jpeg(content: bytes) -> Header:
    frame = jpeg_markers.frame_of(content)
    return Header("JPEG", frame.width, frame.height, frame.samples, frame.precision, frame.buffered)


def _png(content: bytes) -> Header:
    kind = content[12:16]
    width, height, bits, colours = struct.unpack_from(">IIBB", content, 16)
    if kind != b"IHDR":
        raise UnreadableImage("corrupt", f"a PNG starts with the chunk IHDR, this one with {kind!r}")
    return Header("PNG", width, height, {0: 1, 3: 1, 4: 2, 6: 4}.get(colours, 3), bits)


def _gif(content: bytes) -> Header:
    """The screen, enlarged to hold the first frame; found from block to block (GIF89a specification, section 20)."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    while content[at] != 0x2C:  # an image descriptor
        if content[at] == 0x3B:
            raise UnreadableImage("corrupt", "the GIF ends before its first image")
        at = _after_extension(content, at) if content[at] == 0x21 else at + 1
    left, top, wide, high = struct.unpack_from("<HHHH", content, at + 1)
    return Header("GIF", max(width, left + wide), max(height, top + high), samples=1)


def _after_extension(content: bytes, at: int) -> int:
    at += 2
    while content[at]:
        at += 1 + content[at]
    return at + 1


def _bmp(content: bytes) -> Header:
    (size,) = struct.unpack_from("<I", content, 14)
    width, height, _, bits = struct.unpack_from("<HHHH" if size == 12 else "<iiHH", content, 18)
    return Header("BMP", abs(width), abs(height), bits=bits)


def _webp(content: bytes) -> Header | None:
    """Of a canvas (VP8X), a lossy (VP8) or a lossless image (VP8L); None for other RIFF files."""
    if content[8:12] not in (b"WEBP", b"WEBP"[: max(0, len(content) - 8)]):
        return None
    kind = content[12:16]
    if kind == b"VP8X":
        low, high = struct.unpack_from("<IH", content, 24)
        return Header("WEBP", (low & 0xFFFFFF) + 1, (low >> 24 | high << 8) + 1, samples=4)
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", content, 21)
        return Header("WEBP", (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, samples=4)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF)
    if len(content) < 16:
        raise UnreadableImage("truncated", f"the file ends inside its header, after {len(content):,} bytes")
    raise UnreadableImage("corrupt", f"a WebP starts with the chunk VP8, VP8L or VP8X, this one with {kind!r}")


def _tiff(content: bytes) -> Header:
    directory = tiff_directory.read(content)
    width, height = directory.first(tiff_directory.WIDTH), directory.first(tiff_directory.HEIGHT)
    return Header("TIFF", width, height, directory.samples, directory.first(tiff_directory.BITS, 1))


_READERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], Header | None]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    ((b"GIF87a", b"GIF89a"), _gif),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    (tiff_directory.MAGIC, _tiff),
)
