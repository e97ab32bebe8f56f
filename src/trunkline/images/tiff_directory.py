"""The first directory of a TIFF, or of a BigTIFF: size and layout, and whether there are strips for all of its rows.

Pillow reads raw strips without counting them, and leaves black what no strip covers; that is found here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trunkline.errors import UnreadableImage

MAGIC = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")  # two of them in the wrong order, which Pillow reads
MAX_TAGS = 4_096
MAX_STRIPS = 2**20
WIDTH, HEIGHT, BITS, STRIPS, SAMPLES, ROWS, PLANAR = 256, 257, 258, 273, 277, 278, 284
TILE_WIDTH, TILE_HEIGHT, TILES = 322, 323, 324
_WANTED = {WIDTH, HEIGHT, BITS, STRIPS, SAMPLES, ROWS, PLANAR, TILE_WIDTH, TILE_HEIGHT, TILES}
_TYPES = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
_HEADER_BYTES = 8


@dataclass(frozen=True)
class Values:
    """Where the values of a tag lie: `count` of NumPy's `dtype` from byte `start` on."""

    count: int
    dtype: str
    start: int


@dataclass(frozen=True)
class Directory:
    """The tags that say how large an image is and where its data lies."""

    content: bytes
    tags: Mapping[int, Values]

    def first(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        values = self.tags.get(tag)
        return int(np.frombuffer(self.content, values.dtype, 1, values.start)[0]) if values else default

    def count(self, tag: int) -> int:
        return self.tags[tag].count if tag in self.tags else 0

    @property
    def samples(self) -> int:
        return max(self.first(SAMPLES, 1), self.count(BITS))

    def check(self) -> None:
        """Raise UnreadableImage where the data cannot cover the image."""
        planes = self.first(SAMPLES, 1) if self.first(PLANAR, 1) == 2 else 1
        height, width = self.first(HEIGHT), self.first(WIDTH)
        if STRIPS in self.tags:
            self._check("strips", STRIPS, planes * _pieces(height, min(self.first(ROWS, height), height)))
        elif TILES in self.tags:
            across = _pieces(width, self.first(TILE_WIDTH))
            self._check("tiles", TILES, planes * across * _pieces(height, self.first(TILE_HEIGHT)))

    def _check(self, what: str, tag: int, needed: int) -> None:
        there = self.count(tag)
        if not 0 < needed <= MAX_STRIPS or there > MAX_STRIPS:
            raise UnreadableImage("corrupt", f"{there:,} {what} where {needed:,} are needed; at most {MAX_STRIPS:,} are read")
        if there < needed:
            raise UnreadableImage("truncated", f"{there:,} of {needed:,} {what}")
        values = self.tags[tag]
        lowest = int(np.frombuffer(self.content, values.dtype, values.count, values.start).min())
        if lowest < _HEADER_BYTES:
            raise UnreadableImage("corrupt", f"one of {there:,} {what} starts at byte {lowest}, inside the header")


def read(content: bytes) -> Directory:
    """The first directory.

    Raises
    ------
    UnreadableImage : `truncated` where it, or what it points at, lies beyond the end; `corrupt` where it holds more than MAX_TAGS tags or
        no size.
    struct.error : the file ends inside it.
    """
    order = "<" if content.startswith(b"II") else ">"
    big = 43 in content[2:4]
    word, head, step = ("Q", "HHQ", 20) if big else ("L", "HHL", 12)
    (start,) = struct.unpack_from(order + word, content, 8 if big else 4)
    if start >= len(content):
        raise UnreadableImage("truncated", f"its directory lies at byte {start:,}, the file ends at {len(content):,}")
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, start)
    if count > MAX_TAGS:
        raise UnreadableImage("corrupt", f"{count:,} tags in its directory; at most {MAX_TAGS:,} are read")
    tags: dict[int, Values] = {}
    for number in range(count):
        at = start + (8 if big else 2) + number * step
        tag, kind, values = struct.unpack_from(order + head, content, at)
        if tag not in _WANTED or tag in tags or kind not in _TYPES or not values:
            continue
        found = Values(values, order + _TYPES[kind], at + struct.calcsize(order + head))
        size = values * np.dtype(found.dtype).itemsize
        if size > struct.calcsize(order + word):
            found = Values(values, found.dtype, int(struct.unpack_from(order + word, content, found.start)[0]))
        if found.start + size > len(content):
            raise UnreadableImage("truncated", f"its tag {tag} lies at byte {found.start:,}, the file ends at {len(content):,}")
        tags[tag] = found
    if WIDTH not in tags or HEIGHT not in tags:
        raise UnreadableImage("corrupt", "a TIFF without a width or a height")
    return Directory(content, tags)


def _pieces(length: int, each: int) -> int:
    return -(-length // each) if each > 0 else 0
