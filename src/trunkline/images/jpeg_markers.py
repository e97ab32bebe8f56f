"""The marker segments of a JPEG (ITU-T T.81, annex B): frame header, number of scans, Adobe's segment."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from trunkline.errors import UnreadableImage

MAX_SCANS = 500
MAX_SCANNED_PIXELS = 2_000_000_000  # pixels x scans: 20 scans of the largest image, 200 of one of 10 megapixels
SOF_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_END, _SCAN, _APP14 = 0xD9, 0xDA, 0xEE
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # between SOF0 and SOF15: Huffman tables, a reserved one, arithmetic conditioning
_BARE = (0x00, 0x01, *range(0xD0, 0xD9))  # markers without a length
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # after entropy-coded data: neither a stuffed byte nor a restart


@dataclass(frozen=True)
class Frame:
    """The frame header; `buffered` where there are several scans, so that all coefficients are held in memory."""

    width: int
    height: int
    samples: int
    precision: int
    buffered: bool


def frame_of(content: bytes) -> Frame:
    """Read the frame header.

    Raises
    ------
    UnreadableImage : `truncated` or `corrupt` where there is none.
    struct.error, IndexError : the file ends inside it.
    """
    progressive, found = False, (0, 0, 0, 0)
    for marker, at in segments(content):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            progressive, found = marker in SOF_PROGRESSIVE, struct.unpack_from(">BHHB", content, at + 4)
        elif marker == _SCAN and found[3]:
            precision, height, width, samples = found
            return Frame(width, height, samples, precision, progressive or content[at + 4] < samples)
        elif marker in (_SCAN, _END):
            raise UnreadableImage("corrupt", "the JPEG has no frame header before its data")
    raise UnreadableImage("truncated", "the JPEG ends before its first scan")


def has_adobe_marker(content: bytes) -> bool:
    """Whether an APP14 segment of Adobe's stands before the first scan; its CMYK is stored inverted."""
    for marker, at in segments(content):
        if marker == _APP14 and content[at + 4 : at + 9] == b"Adobe" and int.from_bytes(content[at + 2 : at + 4]) >= 14:
            return True
        if marker == _SCAN:
            return False
    return False


def check_scans(content: bytes, pixels: int) -> None:
    """Refuse what would keep a processor busy for minutes: each scan of a progressive JPEG goes over the whole image.

    Raises
    ------
    UnreadableImage : `too-large` above MAX_SCANS, or above MAX_SCANNED_PIXELS in all.
    """
    allowed = min(MAX_SCANS, MAX_SCANNED_PIXELS // max(pixels, 1))
    if content.count(b"\xff\xda") <= allowed:  # never fewer than there are
        return
    scans = sum(marker == _SCAN for marker, _ in segments(content))
    if scans > allowed:
        raise UnreadableImage("too-large", f"a JPEG of {pixels:,} pixels in {scans:,} scans; at most {allowed:,} are decoded")


def segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Every marker with a length, and where its 0xFF stands; up to the end of the image, or of the file."""
    at = content.find(b"\xff", 2)
    while 0 <= at < len(content) - 1:
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _BARE:
            at = content.find(b"\xff", at + 2)
            continue
        yield marker, at
        if marker == _END:
            return
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
        if marker == _SCAN:
            found = _NEXT_MARKER.search(content, at)
            at = found.end() - 2 if found else -1
        else:
            at = content.find(b"\xff", at)
