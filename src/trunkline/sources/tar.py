"""Tar shards in WebDataset's layout: members of one key belong together, `0001.jpg` is an image and `0001.cls` its label."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

from trunkline.errors import SourceError, StorageUnreachable, UnreadableImage
from trunkline.locations import Location, reached
from trunkline.sources.base import Listed, as_text, is_image, unchanged
from trunkline.sources.columns import label_of
from trunkline.sources.files import Files
from trunkline.sources.folder import child_uri, fetch_below
from trunkline.sources.layout import SILENT, Layout
from trunkline.sources.objects import Span
from trunkline.sources.tar_members import PLAIN, Member, members

TAR = frozenset({".tar"})
READ_AHEAD = 8 * 2**20  # bytes that one request for headers brings along
MAX_LABEL_BYTES = 1024
MAX_TOGETHER = 1000  # images of one key


@dataclass(frozen=True)
class TarSource:
    """Images in tars; ids are `<tar>/<member>`, and an image's version is its tar's with its offset."""

    root: Location
    tells_labels = True

    @property
    def is_local(self) -> bool:
        return self.root.is_local

    @cached_property
    def _files(self) -> Files:
        return Files(self.root, TAR)

    def check(self) -> None:
        self._files.check()

    def layout_of(self, folders: Iterable[str], labels: str) -> Layout:  # noqa: ARG002
        return SILENT

    def listing(self) -> Iterator[Listed]:
        """Every image of every tar, in their order; links, devices and sparse files in an image's name stay unreadable.

        Raises
        ------
        SourceError : no tars, or one that is compressed, cut off or damaged.
        """
        for tar in self._files.each():
            yield from self._images(tar)

    def uri_of(self, image_id: str, place: str = "") -> str:  # noqa: ARG002
        return child_uri(self._files.base, image_id)

    def read(self, image_id: str, version: str, place: str = "") -> bytes:
        return unchanged(self.fetch(image_id, place), version)

    def fetch(self, image_id: str, place: str = "") -> tuple[bytes, str]:  # noqa: ARG002 (the place says it all)
        where, _, tar = place.partition("@")
        if where.startswith("!"):
            raise UnreadableImage("unreadable", f"a {where[1:]} in a tar")
        offset, plus, size = where.partition("+")
        if not (plus and tar and offset.isdecimal() and size.isdecimal()):
            raise UnreadableImage("outside", f"the place {place!r} names no bytes of a tar")
        content, version = fetch_below(self._files.base, tar, Span(int(offset), int(size)))
        return content, f"{version}@{offset}"

    def said(self) -> dict[str, Any]:
        return {"kind": "tar", "root": self.root.uri}

    def _images(self, tar: Listed) -> Iterator[Listed]:
        place = self._files.base / tar.id
        with _opened(place) as file:
            key, label, together = "", None, list[Listed]()
            for member in members(file, tar.size, str(place)):
                if _key(member.name) != key or len(together) >= MAX_TOGETHER:
                    yield from (_labelled(image, label) for image in together)
                    key, label, together = _key(member.name), None, []
                if member.kind == PLAIN and member.name == f"{key}.cls":
                    label = _label(file, member, place)
                elif is_image(member.name) and not _is_hidden(member.name) and member.kind != "folder":
                    together.append(_listed(member, tar))
            yield from (_labelled(image, label) for image in together)


def _listed(member: Member, tar: Listed) -> Listed:
    image_id = f"{tar.id}/{as_text(member.name)}"
    if member.kind != PLAIN:
        return Listed(image_id, 0, f"{tar.version}@{member.offset}", f"!{member.kind}@{tar.id}")
    return Listed(image_id, member.size, f"{tar.version}@{member.offset}", f"{member.offset}+{member.size}@{tar.id}")


def _labelled(image: Listed, label: str | None) -> Listed:
    return image if label is None else Listed(image.id, image.size, image.version, image.place, label)


def _key(name: str) -> str:
    """WebDataset's: the path up to the first dot of its last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.split(".", 1)[0]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _label(file: BinaryIO, member: Member, place: Location) -> str | None:
    where = f"The member {member.name!r} of {place}"
    if member.size > MAX_LABEL_BYTES:
        raise SourceError(f"{where} has {member.size:,} bytes, which is no label. Make the tar anew.")
    file.seek(member.offset)
    try:
        return label_of(file.read(member.size).decode("utf-8"), where)
    except UnicodeDecodeError as error:
        raise SourceError(f"{where} is not UTF-8 text, which a label has to be ({error}). Make the tar anew.") from error


@contextlib.contextmanager
def _opened(place: Location) -> Iterator[BinaryIO]:
    try:
        if place.is_local:
            with place.path.open("rb") as file:
                yield file
        else:
            with reached(place) as remote, remote.open(place.uri, "rb", block_size=READ_AHEAD, cache_type="readahead") as file:
                yield file
    except FileNotFoundError as error:
        raise SourceError(f"{place} went away while it was listed. Its images would be lost; scan again.") from error
    except OSError as error:
        raise StorageUnreachable(
            f"Reading {place} failed ({error.strerror or error}). Check the disk, then scan again."
        ) from error
