"""One file or object: its version without its bytes, and its bytes (or some of them) together with their version.

A version changes when the object does: size and modification time on a local disk, size and the storage's own tag elsewhere. A listing, a
look at one object and a read give the same one.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trunkline.errors import StorageUnreachable, UnreadableImage
from trunkline.locations import Location, reached
from trunkline.sources import s3

MAX_IMAGE_BYTES = 512 * 2**20
MISSING, DANGLING, UNREADABLE = "missing", "dangling", "unreadable"
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


@dataclass(frozen=True)
class Span:
    """Bytes [offset, offset + size) of an object."""

    offset: int
    size: int


def fetch(place: Location, span: Span | None = None) -> tuple[bytes, str]:
    """The object's bytes, or those of a span, and the version of the whole object.

    Raises
    ------
    UnreadableImage : missing, forbidden, too large, or shorter than the span.
    StorageUnreachable : the disk or bucket does not answer, which is no fault of the image's.
    """
    if span and span.size > MAX_IMAGE_BYTES:
        raise too_large(span.size)
    try:
        content, version = _fetched(place, span)
    except FileNotFoundError as error:
        raise UnreadableImage("missing", "not there any more; scan again") from error
    except OSError as error:
        if error.errno in ITS_OWN_FAULT:
            raise UnreadableImage("unreadable", error.strerror or str(error)) from error
        raise StorageUnreachable(
            f"Reading {place} failed ({error.strerror or error}). That is no fault of the image's, so nothing was recorded: "
            "check the disk, then start the same command again."
        ) from error
    if span and len(content) < span.size:
        raise UnreadableImage("truncated", f"{place.name} ends before the image does")
    return content, version


def too_large(size: int) -> UnreadableImage:
    return UnreadableImage("too-large", f"{size:,} bytes; at most {MAX_IMAGE_BYTES:,} are read")


def look(place: Location) -> tuple[int, str]:
    """Size and version of an object; (0, 'missing') where there is none. Raises StorageUnreachable."""
    try:
        if place.is_local:
            status = place.path.stat()
            return status.st_size, local_version(status)
        info = remote_info(place)
    except (FileNotFoundError, NotADirectoryError):
        return 0, MISSING
    except OSError as error:
        if error.errno in ITS_OWN_FAULT:
            return 0, UNREADABLE
        raise StorageUnreachable(
            f"Looking at {place} failed ({error.strerror or error}). Check the disk, then scan again."
        ) from error
    return int(info["size"] or 0), remote_version(info)


def remote_info(place: Location) -> dict[str, Any]:
    """Size and tag of a remote object, as the storage says them now. Raises FileNotFoundError and StorageUnreachable."""
    if s3.is_s3(place):
        return s3.head(place)
    with reached(place) as remote:
        found: dict[str, Any] = remote.info(place.uri)
    return found


def local_version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def remote_version(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "mtime", "LastModified", "Last-Modified", "created"):
        if tag := info.get(key):
            # some file systems give a date in one call and a timestamp in another
            return f"{info['size']}-{tag.timestamp() if isinstance(tag, datetime) else str(tag).strip(chr(34))}"
    return f"{info['size']}"


def _fetched(place: Location, span: Span | None) -> tuple[bytes, str]:
    if place.is_local:
        return _read_local(place, span)
    if s3.is_s3(place):
        return _read_s3(place, span)
    return _read_remote(place, span)


def _read_local(place: Location, span: Span | None) -> tuple[bytes, str]:
    # a pipe is opened without waiting for its writer, then refused
    with open(place.path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("unreadable", "not a regular file")
        if span:
            file.seek(span.offset)
            return file.read(span.size), local_version(status)
        if status.st_size > MAX_IMAGE_BYTES:
            raise too_large(status.st_size)
        return file.read(), local_version(status)


def _read_s3(place: Location, span: Span | None) -> tuple[bytes, str]:
    """One request an image: S3 says the tag together with the bytes."""
    content, info = s3.get(place, (span.offset, span.size) if span else None, MAX_IMAGE_BYTES)
    if content is None:
        raise too_large(int(info["size"]))
    return content, remote_version(info)


def _read_remote(place: Location, span: Span | None) -> tuple[bytes, str]:
    info = remote_info(place)
    if span:
        with reached(place) as remote:
            return remote.cat_file(place.uri, start=span.offset, end=span.offset + span.size), remote_version(info)
    if int(info["size"] or 0) > MAX_IMAGE_BYTES:
        raise too_large(int(info["size"]))
    return place.read(), remote_version(info)
