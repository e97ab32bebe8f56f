"""Where things lie: one place under any fsspec URL, with the two writes the store is built on.

`write` replaces an object atomically, `create` makes it exclusively: of many callers one wins, the others get
`FileExistsError`, and nobody ever sees half an object.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from trunkline.errors import StorageError, StorageUnreachable, StoreError, TrunklineError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Location:
    """A folder or an object: an absolute local path, or a URL such as `s3://bucket/key`."""

    uri: str

    @classmethod
    def of(cls, uri: str | os.PathLike[str]) -> Location:
        """A local path becomes absolute, `file://` goes away, a trailing slash too. Raises StoreError for a bare `s3://`, or a password."""
        text = os.fspath(uri)
        if re.search(r"://[^/@]*:[^/@]*@", text):
            raise StoreError(
                "The URL holds a password, which would be written into the store. Give it by the environment or fsspec's configuration."
            )
        if text.startswith("file://"):
            text = text.removeprefix("file://")
        if "://" not in text:
            text = str(Path(text).expanduser().absolute())
            return cls(os.path.normpath(text))
        if not text.split("://", 1)[1].strip("/"):
            raise StoreError(f"{text} names no bucket or folder. Name one: {text.rstrip('/')}//bucket/folder.")
        return cls(text.rstrip("/"))

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> Location:
        """A child; `name` may hold slashes but may not leave this location."""
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise StoreError(f"The name {name!r} would leave {self.uri}: names are relative and hold no '..'.")
        return Location(f"{self.uri}/{name}")

    @property
    def name(self) -> str:
        return self.uri.rsplit("/", 1)[-1]

    @property
    def scheme(self) -> str:
        return self.uri.split("://", 1)[0] if "://" in self.uri else "file"

    @property
    def is_local(self) -> bool:
        return self.scheme == "file"

    @property
    def path(self) -> Path:
        """The local path; only where `is_local`."""
        if not self.is_local:
            raise StoreError(f"{self.uri} is not on a local file system.")
        return Path(self.uri)

    def read(self) -> bytes:
        """The whole object. Raises FileNotFoundError."""
        if self.is_local:
            with storage_errors_in_words(self, "Reading"):
                return self.path.read_bytes()
        with reached(self) as remote:
            content: bytes = remote.cat_file(self.uri)
        return content

    def write(self, content: bytes, media_type: str = "") -> None:
        """Replace the object atomically; `media_type` such as text/html, which S3 serves it with, lets a browser show it."""
        if not self.is_local:
            said = {"ContentType": media_type} if media_type and self.scheme in ("s3", "s3a") else {}
            with _writing(self) as remote:
                remote.pipe_file(self.uri, content, **said)
            return
        with storage_errors_in_words(self), self._temporary() as temporary:
            temporary.write_bytes(content)
            temporary.replace(self.path)

    def create(self, content: bytes) -> None:
        """Make the object if it is not there. Raises FileExistsError where it is."""
        if not self.is_local:
            with _writing(self) as remote:
                remote.pipe_file(self.uri, content, mode="create")
            return
        with storage_errors_in_words(self), self._temporary() as temporary:
            temporary.write_bytes(content)
            # a hard link appears whole and only once, unlike open("xb"), which a crash leaves empty
            try:
                os.link(temporary, self.path)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise StorageError(
                    f"{self.path.parent} has no hard links, so objects cannot be created exclusively there and two runs could overwrite "
                    "each other. Put the store on another file system (ext4, xfs, NFS), or on object storage."
                ) from error

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """A local path to write to; it becomes this object when the block ends without an error."""
        with storage_errors_in_words(self), self._temporary() as temporary:
            yield temporary
            temporary.replace(self.path)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self.path.parent
        if folder.exists() and not folder.is_dir():  # mkdir's FileExistsError would pass for a lost race
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        folder.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.name}.{secrets.token_hex(6)}.tmp")
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def exists(self) -> bool:
        if self.is_local:
            with storage_errors_in_words(self, "Looking at"):
                return self.path.exists()
        with reached(self) as remote:
            return bool(remote.exists(self.uri))

    def names(self) -> list[str]:
        """Sorted names of what lies directly here; empty where there is nothing. Unfinished temporary files are left out."""
        if self.is_local:
            try:
                with storage_errors_in_words(self, "Listing"):
                    found = [each.name for each in self.path.iterdir()]
            except FileNotFoundError:
                return []
        else:
            try:
                with reached(self) as remote:
                    remote.invalidate_cache(self.uri)
                    entries = [str(entry).strip("/") for entry in remote.ls(self.uri, detail=False)]
            except FileNotFoundError:
                return []
            # an object is no folder to look into, and some tools leave an empty object named like the folder
            here = self.uri.split("://", 1)[1].strip("/")
            found = [entry.rsplit("/", 1)[-1] for entry in entries if entry != here]
        return sorted(name for name in found if not name.startswith("."))

    def remove(self) -> None:
        """Delete this object or folder; nothing happens where it is not there."""
        with storage_errors_in_words(self), contextlib.suppress(FileNotFoundError), reached(self) as files:
            files.rm(self.uri, recursive=True)

    def size(self) -> int:
        """Bytes of everything under here; 0 where there is nothing."""
        try:
            with reached(self) as files:
                return sum(int(found["size"] or 0) for found in files.find(self.uri, detail=True).values())
        except FileNotFoundError:
            return 0

    def modified(self) -> datetime:
        """When this object was written last, in UTC. Raises FileNotFoundError where there is none."""
        if self.is_local:
            with storage_errors_in_words(self, "Looking at"):
                return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
        with reached(self) as remote:
            found: datetime = remote.modified(self.uri)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)

    def refuse_unless_exclusive(self) -> None:
        """Try once a process whether `create` is exclusive here. Raises StorageError where it overwrites.

        A local disk says so itself; a bucket behind an endpoint that does not know `If-None-Match` overwrites without a word.
        """
        if not self.is_local:
            _prove_exclusive(self)

    def free(self) -> int | None:
        """Bytes free on the disk that holds this; None where that is not known, as in a bucket."""
        if not self.is_local:
            return None
        there = next((place for place in (self.path, *self.path.parents) if place.exists()), None)
        return shutil.disk_usage(there).free if there else None


def filesystem(scheme: str, *, asynchronous: bool = False) -> Any:
    """The fsspec file system of a scheme, made once a process and set of AWS_ variables. Raises StoreError for an unknown one.

    It caches no listings: what other processes write is seen. `asynchronous` is for Zarr, which has an event loop of its own.
    """
    settings = frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _filesystem(scheme, asynchronous, settings, os.getpid())


@lru_cache(maxsize=16)
def _filesystem(scheme: str, asynchronous: bool, settings: frozenset[tuple[str, str]], pid: int) -> Any:  # noqa: ARG001
    import fsspec

    try:
        if scheme in ("s3", "s3a"):
            from trunkline.s3 import ObjectStorage

            return ObjectStorage.opened(asynchronous)
        return fsspec.filesystem(scheme, **({} if scheme in ("file", "memory") else {"use_listings_cache": False}))
    except (ValueError, ImportError) as error:
        raise StoreError(f"No access to {scheme}:// locations: {error}. Check the scheme, or install what it names.") from error


@lru_cache(maxsize=64)
def _prove_exclusive(location: Location) -> None:
    probe = location / f".exclusive-{secrets.token_hex(8)}"
    try:
        probe.create(b"first")
        probe.create(b"second")
    except FileExistsError:
        return
    finally:
        probe.remove()
    raise StorageError(
        f"{location} is on storage that cannot create objects exclusively (it ignores If-None-Match), so two runs could overwrite each "
        "other. Put the store on storage that can, such as Amazon S3 or a current MinIO, or on a local disk."
    )


@contextlib.contextmanager
def reached(location: Location) -> Iterator[Any]:
    """The file system of a location, and words for what a remote one says.

    What is not there, or there already, passes. A refusal is StorageError; anything else is StorageUnreachable.
    """
    try:
        yield filesystem(location.scheme)
    except (FileNotFoundError, FileExistsError, TrunklineError):
        raise
    except Exception as error:
        if location.is_local:
            raise
        said = without_secrets(f"{type(error).__name__}: {error}")
        if isinstance(error, PermissionError):
            raise StorageError(
                f"{location.uri} is refused ({said}). Check the credentials, and that they may list, read and write here."
            ) from error
        raise StorageUnreachable(
            f"{location.uri} cannot be reached ({said}). Check the bucket's name, the credentials and the "
            "network, then start the same command again; what was committed is kept."
        ) from error


def without_secrets(text: str) -> str:
    """The text without names and passwords in URLs, and without the credentials of the environment."""
    text = re.sub(r"://[^/@\s]*@", "://", text)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return text


@contextlib.contextmanager
def _writing(location: Location) -> Iterator[Any]:
    try:
        with reached(location) as remote:
            yield remote
    except FileNotFoundError as error:
        raise StorageError(f"{location.uri} cannot be written: {error}. Check that the bucket exists.") from error


@contextlib.contextmanager
def storage_errors_in_words(location: Location, doing: str = "Writing") -> Iterator[None]:
    """Turn the operating system's refusals into StorageError; what is there already, or not there to be read, passes."""
    try:
        yield
    except FileExistsError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if doing == "Writing":
            raise _storage_error(error, location, doing) from error
        raise FileNotFoundError(error.errno, error.strerror, location.uri) from error
    except OSError as error:
        raise _storage_error(error, location, doing) from error


def _storage_error(error: OSError, location: Location, doing: str) -> StorageError:
    """The operating system's refusal in words: what, where, and what to do."""
    if error.errno in _FULL:
        advice = "The disk is full: free some space, then start the same command again; what was committed is kept."
    elif error.errno in _REFUSED:
        advice = "Check permissions and whether the file system is mounted read-only."
    else:
        advice = "Check the disk or bucket, then start the same command again; what was committed is kept."
    return StorageError(f"{doing} {location.uri} failed ({error.strerror or error}). {advice}")
