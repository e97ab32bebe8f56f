"""Why a file gives no pixels: one word of a fixed vocabulary for counting, and the decoder's own words for people."""

from __future__ import annotations

from types import MappingProxyType

from PIL import Image, UnidentifiedImageError

from trunkline.errors import UnreadableImage

REASONS = MappingProxyType(
    {
        "empty": "zero bytes",
        "not-an-image": "no format that is read here: JPEG, PNG, WebP, BMP, GIF, TIFF",
        "unsupported": "a known format in a variant that its decoder does not read",
        "truncated": "the file ends before the image does",
        "corrupt": "the file contradicts itself or its format",
        "too-large": "more pixels, or more work, than any honest image of its size needs",
    }
)
_TRUNCATED = ("truncated", "premature end", "unexpected end", "not enough data", "broken data stream", "not enough image data")
_TOO_LARGE = ("decompressed data too large", "too much memory used in text chunks", "bomb")


def reason_of(error: Exception, content: bytes) -> UnreadableImage:
    """The decoders' many words for the same thing, as one reason."""
    if isinstance(error, UnreadableImage):
        return error
    if isinstance(error, UnidentifiedImageError):
        return UnreadableImage("not-an-image", seems(content))
    words = " ".join(str(error).split())
    lowered = words.lower()
    if any(sign in lowered for sign in _TRUNCATED):
        return UnreadableImage("truncated", words)
    if isinstance(error, MemoryError | Image.DecompressionBombError) or any(sign in lowered for sign in _TOO_LARGE):
        return UnreadableImage("too-large", words)
    if isinstance(error, NotImplementedError) or "unsupported" in lowered:
        return UnreadableImage("unsupported", words)
    return UnreadableImage("corrupt", words or type(error).__name__)


def seems(content: bytes) -> str:
    """What a file that is no image looks like."""
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start.startswith((b"<svg", b"<?xml")):
        return "XML or SVG"
    return f"starts with {content[:8].hex(' ')}"
