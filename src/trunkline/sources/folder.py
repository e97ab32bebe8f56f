"""A folder of images at any depth, and a glob: ids are paths relative to the folder, with `/`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from trunkline.errors import SourceError, StoreError, UnreadableImage
from trunkline.locations import Location
from trunkline.sources import s3, walking
from trunkline.sources.base import ADVICE, IMAGE_SUFFIXES, Listed, unchanged
from trunkline.sources.choice import Choice, parted
from trunkline.sources.layout import Layout, layout_of
from trunkline.sources.objects import Span, fetch


@dataclass(frozen=True)
class FolderSource:
    """A folder of images, at any depth."""

    root: Location
    tells_labels = False

    @property
    def base(self) -> Location:
        return self.root

    @property
    def choice(self) -> Choice:
        return Choice(IMAGE_SUFFIXES)

    @property
    def is_local(self) -> bool:
        return self.root.is_local

    def layout_of(self, folders: Iterable[str], labels: str) -> Layout:
        """How folders speak, read off the top folders that hold images. Raises SourceError where nobody can tell splits from classes."""
        return layout_of(folders, labels, self.root)

    def listing(self) -> Iterator[Listed]:
        """Every image below the root. Hidden files and unknown suffixes are passed over.

        Raises
        ------
        SourceError : the root is missing, not a folder, or cannot be listed.
        """
        self.check()
        yield from walking.below(self.base, self.choice)

    def check(self) -> None:
        """Raise SourceError where there is no such folder."""
        check_folder(self.base)

    def uri_of(self, image_id: str, place: str = "") -> str:  # noqa: ARG002 (the id says it all)
        return child_uri(self.base, image_id)

    def read(self, image_id: str, version: str, place: str = "") -> bytes:
        return unchanged(self.fetch(image_id, place), version)

    def fetch(self, image_id: str, place: str = "") -> tuple[bytes, str]:  # noqa: ARG002
        return fetch_below(self.base, image_id)

    def said(self) -> dict[str, Any]:
        return {"kind": "folder", "root": self.root.uri}


@dataclass(frozen=True)
class GlobSource(FolderSource):
    """The images that match a pattern; ids are relative to the folder above its first wildcard."""

    @property
    def base(self) -> Location:
        return parted(self.root)[0]

    @property
    def choice(self) -> Choice:
        return Choice(IMAGE_SUFFIXES, parted(self.root)[1])

    def said(self) -> dict[str, Any]:
        return {"kind": "glob", "root": self.root.uri}


def check_folder(folder: Location) -> None:
    """Raise SourceError where there is no such folder."""
    if s3.is_s3(folder):
        _check_s3(folder)
        return
    if folder.is_local and folder.exists() and not folder.path.is_dir():
        raise SourceError(f"The source {folder} is a file; trunkline reads folders of images here. {ADVICE}")
    if not folder.exists():
        raise SourceError(f"The source {folder} does not exist. {ADVICE}")


def _check_s3(folder: Location) -> None:
    """A listing of one key: where a bucket cannot be listed, looking at one object would say no more."""
    bucket, key = s3.split(folder)
    found = s3.list_page(folder, Bucket=bucket, Prefix=f"{key}/" if key else "", MaxKeys=1)
    if key and not found.get("Contents"):
        raise SourceError(f"The source {folder} does not exist: the bucket holds no key below it. {ADVICE}")


def child_uri(folder: Location, name: str) -> str:
    return f"{folder.uri.rstrip('/')}/{name}"


def fetch_below(folder: Location, name: str, span: Span | None = None) -> tuple[bytes, str]:
    """`fetch` an object of a folder, by a name that came from outside."""
    try:
        place = folder / name
    except StoreError as error:
        raise UnreadableImage("outside", "the id leaves the source") from error
    return fetch(place, span)
