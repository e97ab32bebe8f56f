"""What a source is: images listed in a fixed order, each with a version, and their bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from trunkline.errors import UnreadableImage
from trunkline.locations import Location
from trunkline.sources.layout import Layout

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
ADVICE = "Check the path given as --source (`source:` in a spec; --images of predict), and that the disk or bucket is mounted."


class Listed(NamedTuple):
    """One image as the listing saw it.

    Parameters
    ----------
    id : unique in its dataset.
    size : in bytes; 0 where the listing does not tell.
    version : changes when the image does.
    place : where its bytes lie, in the source's own words; empty where the id says it all.
    label, split : what the source itself says, as a table does; None where it says nothing. A split is train, test or val.
    """

    id: str
    size: int
    version: str
    place: str = ""
    label: str | None = None
    split: str | None = None


class Source(Protocol):
    """Where a dataset's images come from.

    `root` is what the user gave and people see. With `tells_labels` the labels and splits of the listing are all there are, and an image
    without a split gets a hashed one; without `tells_labels` folders speak, as `layout_of` says.
    """

    @property
    def root(self) -> Location: ...

    @property
    def is_local(self) -> bool:
        """Images lie on this machine's file systems, so that few threads are enough to read them."""

    @property
    def tells_labels(self) -> bool: ...

    def check(self) -> None:
        """Raise SourceError where the root is missing or of the wrong kind; reads no image and lists little."""

    def listing(self) -> Iterator[Listed]:
        """Every image, streamed, in an order that depends on the source's content alone. Raises SourceError."""

    def layout_of(self, folders: Iterable[str], labels: str) -> Layout:
        """How the top folders that hold images speak; `labels` is the spec's."""

    def read(self, image_id: str, version: str, place: str = "") -> bytes:
        """The image's bytes, if it is still the version that the manifest knows.

        Raises
        ------
        UnreadableImage : missing, forbidden, too large, or changed since the scan.
        StorageUnreachable : the disk or bucket does not answer, which is no fault of the image's.
        """

    def fetch(self, image_id: str, place: str = "") -> tuple[bytes, str]:
        """The image's bytes as they are now, and their version. Raises as `read` does, but for a changed image."""

    def uri_of(self, image_id: str, place: str = "") -> str:
        """For people to read; `read` is what opens an image, and refuses ids that leave the source."""

    def said(self) -> dict[str, Any]:
        """What `source.json` holds: kind, root, and what else is needed to read images and to list them again."""


def unchanged(fetched: tuple[bytes, str], version: str) -> bytes:
    """The bytes, if they are the version that the manifest knows."""
    content, seen = fetched
    if seen != version:
        raise UnreadableImage("changed", "not the file the scan saw; scan again")
    return content


def suffix_of(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path for each of millions is slow)


def is_image(name: str) -> bool:
    return suffix_of(name) in IMAGE_SUFFIXES


def as_text(name: str) -> str:
    """A name that is not UTF-8 becomes one that can be stored and shown; its image ends in quarantine as missing."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
