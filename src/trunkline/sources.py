"""A source: what images there are, which label and split their folders give them, and their bytes.

Ids are paths relative to the root, with `/`. A version changes when the image does: size and modification time on a
local disk, the storage's own tag elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from trunkline.errors import SourceError, StorageUnreachable, StoreError, UnreadableImage
from trunkline.locations import Location, reached
from trunkline.specs import SplitSpec

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
MAX_IMAGE_BYTES = 512 * 2**20
# what the system says of one file; anything else it says of the disk
ITS_OWN_FAULT = {
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENXIO,
    errno.ENODEV,
    errno.ENAMETOOLONG,
}


class Listed(NamedTuple):
    """One image as the listing saw it.

    Parameters
    ----------
    id : unique in its dataset.
    size : in bytes; 0 where the listing does not tell.
    version : changes when the image does.
    place : where its bytes lie, in the source's own words; empty where the id says it all.
    label, split : what the source itself says, as a table does; None where it says nothing.
    """

    id: str
    size: int
    version: str
    place: str = ""
    label: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Layout:
    """How folders speak: with `split_folders`, `train/apple/1.jpg`; without, `apple/1.jpg`; flat folders give no labels.

    Without a test folder (`holds_out` false) the hashed split holds images out of the training ones.
    """

    labelled: bool
    split_folders: bool
    holds_out: bool

    def label(self, image_id: str) -> str | None:
        folders = image_id.split("/")[1 if self.split_folders else 0 : -1]
        return folders[0] if self.labelled and folders else None

    def split(self, image_id: str, spec: SplitSpec) -> str:
        named = SPLITS.get(image_id.split("/", 1)[0].lower(), "train") if self.split_folders else "train"
        return hashed_split(image_id, spec) if named == "train" and not self.holds_out else named


def hashed_split(image_id: str, spec: SplitSpec) -> str:
    """'test' for a fixed share of ids, else 'train'; a function of (seed, id) alone, so that appending never reshuffles."""
    digest = hashlib.sha256(f"{spec.seed}:{image_id}".encode("utf-8", "surrogateescape")).digest()
    return "test" if int.from_bytes(digest[:8], "big") / 2**64 < spec.test_fraction else "train"


@dataclass(frozen=True)
class FolderSource:
    """A folder of images, at any depth."""

    root: Location

    def layout(self, folders: Iterable[str], labels: str) -> Layout:
        """Read the convention off the top folders that hold images: split folders where every one is, and `train` is among them.

        Raises
        ------
        SourceError : train and test folders stand beside others, so that nobody can tell splits from classes.
        """
        folders = set(folders)
        splits = {SPLITS.get(folder.lower()) for folder in folders}
        strangers = sorted(folder for folder in folders if folder.lower() not in SPLITS)
        if {"train", "test"} <= splits and strangers and labels == "folders":
            raise SourceError(
                f"{self.root} holds train and test folders beside others ({', '.join(strangers[:3])}): are they splits or classes? Move "
                "the others away, or use --labels none."
            )
        split_folders = "train" in splits and not strangers
        return Layout(labels == "folders", split_folders, holds_out=split_folders and "test" in splits)

    def listing(self) -> Iterator[Listed]:
        """Every image below the root, in order of folders and names. Hidden files and unknown suffixes are passed over.

        Raises
        ------
        SourceError : the root is missing, not a folder, or cannot be listed.
        """
        self.check()
        found = self._walk(self.root.uri, "") if self.root.is_local else self._find()
        yield from found

    def check(self) -> None:
        """Raise SourceError where there is no such folder."""
        advice = "Check the path given as --source (or `source:` in the spec), and that the disk or bucket is mounted."
        if self.root.is_local and self.root.exists() and not self.root.path.is_dir():
            raise SourceError(f"The source {self.root} is a file; trunkline reads folders of images. {advice}")
        if not self.root.exists():
            raise SourceError(f"The source {self.root} does not exist. {advice}")

    def uri_of(self, image_id: str) -> str:
        """For people to read; `read` is what opens an image, and refuses ids that leave the source."""
        return f"{self.root.uri}/{image_id}"

    def read(self, image_id: str, version: str) -> bytes:
        """The image's bytes, if it is still the version that the manifest knows.

        Raises
        ------
        UnreadableImage : missing, forbidden, too large, or changed since the scan.
        StorageUnreachable : the disk or bucket does not answer, which is no fault of the image's.
        """
        content, seen = self.fetch(image_id)
        if seen != version:
            raise UnreadableImage("changed", "not the file the scan saw; scan again")
        return content

    def fetch(self, image_id: str) -> tuple[bytes, str]:
        """The image's bytes as they are now, and their version. Raises as `read` does, but for a changed image."""
        try:
            place = self.root / image_id
        except StoreError as error:
            raise UnreadableImage("outside", "the id leaves the source") from error
        try:
            return _read_local(place) if place.is_local else _read_remote(place)
        except FileNotFoundError as error:
            raise UnreadableImage("missing", "not there any more; scan again") from error
        except OSError as error:
            if error.errno in ITS_OWN_FAULT:
                raise UnreadableImage("unreadable", error.strerror or str(error)) from error
            raise StorageUnreachable(
                f"Reading {place} failed ({error.strerror or error}). That is no fault of the image's, so nothing was recorded: "
                "check the disk, then start the same command again."
            ) from error

    def _walk(self, folder: str, prefix: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Listed]:
        """Links to folders are followed, but for those that lead back to a folder above."""
        try:
            here = os.stat(folder)  # noqa: PTH116 (a Path for each of many folders is slow)
            above |= {(here.st_dev, here.st_ino)}
            with os.scandir(folder) as entries:
                ordered = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            raise SourceError(
                f"Cannot list {folder} ({error.strerror}). Its images would be lost; check its permissions."
            ) from error
        for entry in ordered:
            if _is_folder(entry, above):
                yield from self._walk(entry.path, f"{prefix}{entry.name}/", above)
            elif _is_image(entry.name):
                yield Listed(_text(f"{prefix}{entry.name}"), *_stat(entry))

    def _find(self) -> Iterator[Listed]:
        with reached(self.root) as remote:
            found: dict[str, dict[str, Any]] = remote.find(self.root.uri, detail=True)
        start = len(self.root.uri.split("://", 1)[1].strip("/")) + 1
        for name in sorted(found):
            image_id = name.strip("/")[start:]
            if _is_image(image_id) and not any(part.startswith(".") for part in image_id.split("/")):
                yield Listed(image_id, int(found[name]["size"] or 0), _remote_version(found[name]))


def _is_folder(entry: os.DirEntry[str], above: frozenset[tuple[int, int]]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        target = entry.stat()
    except OSError:
        return False
    return stat.S_ISDIR(target.st_mode) and (target.st_dev, target.st_ino) not in above


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (a Path for each of millions is slow)


def _text(image_id: str) -> str:
    """A name that is not UTF-8 becomes one that can be stored and shown; its image ends in quarantine as missing."""
    return image_id.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _stat(entry: os.DirEntry[str]) -> tuple[int, str]:
    try:
        status = entry.stat()
    except OSError:  # a dangling link: it stays in the manifest, and extraction says why it cannot be read
        return 0, "dangling"
    return status.st_size, _local_version(status)


def _local_version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _remote_version(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "mtime", "LastModified", "created"):
        if tag := info.get(key):
            # some file systems give a date in one call and a timestamp in another
            return f"{info['size']}-{tag.timestamp() if isinstance(tag, datetime) else str(tag).strip(chr(34))}"
    return f"{info['size']}"


def _read_local(place: Location) -> tuple[bytes, str]:
    # a pipe is opened without waiting for its writer, then refused
    with open(place.path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("unreadable", "not a regular file")
        if status.st_size > MAX_IMAGE_BYTES:
            raise UnreadableImage("too-large", f"{status.st_size:,} bytes; at most {MAX_IMAGE_BYTES:,} are read")
        return file.read(), _local_version(status)


def _read_remote(place: Location) -> tuple[bytes, str]:
    with reached(place) as remote:
        info = remote.info(place.uri)
    if int(info["size"] or 0) > MAX_IMAGE_BYTES:
        raise UnreadableImage("too-large", f"{info['size']:,} bytes; at most {MAX_IMAGE_BYTES:,} are read")
    return place.read(), _remote_version(info)
