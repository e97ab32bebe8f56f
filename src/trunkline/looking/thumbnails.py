"""Small pictures of a dataset's images, for pages; one that cannot be read again says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trunkline import images
from trunkline.errors import UnreadableImage
from trunkline.images import decoding
from trunkline.reader import Features


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG, or None and the reason; `read` bytes came from the source."""

    jpeg: bytes | None
    reason: str = ""
    read: int = 0


def thumbnail_of(features: Features, listed: Mapping[str, str], side: int, quality: int) -> Thumbnail:
    """The image of a row as it was extracted, upright, its longer side `side` pixels.

    Parameters
    ----------
    listed : its id, version and place, as `Snapshot.listed` gives them.
    """
    size = 0
    try:
        content = features.dataset.source.read(listed["id"], listed["version"], listed["place"])
        size = len(content)
        return Thumbnail(small(content, side, quality), "", size)
    except UnreadableImage as error:
        return Thumbnail(None, error.reason, size)


def small(content: bytes, side: int, quality: int) -> bytes:
    """A JPEG of an image's bytes; a large JPEG is decoded no larger than needed. Raises UnreadableImage."""
    pixels = decoding.view(content, upright=True, reduced_for=(side, "pad"))
    return images.thumbnail(np.ascontiguousarray(pixels), side, quality)
