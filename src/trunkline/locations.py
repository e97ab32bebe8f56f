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

    def write(self, content: bytes) -> None:
        """Replace the object atomically."""
        if not self.is_local:
            with _writing(self) as remote:
                remote.pipe_file(self.uri, content)
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
                    found = [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in remote.ls(self.uri, detail=False)]
            except FileNotFoundError:
                return []
        return sorted(name for name in found if not name.startswith("."))

    def remove(self) -> None:
        """Delete this object or folder; nothing happens where it is not there."""
        with storage_errors_in_words(self), contextlib.suppress(FileNotFoundError), reached(self) as files:
            files.rm(self.uri, recursive=True)

    def size(self) -> int:
        """Bytes of everything under here; 0 where there is nothing."""
        try:
            with reached(self) as files:
                return int(files.du(self.uri, total=True))
        except FileNotFoundError:
            return 0

    def free(self) -> int | None:
        """Bytes free on the disk that holds this; None where that is not known, as in a bucket."""
        if not self.is_local:
            return None
        there = next((place for place in (self.path, *self.path.parents) if place.exists()), None)
        return shutil.disk_usage(there).free if there else None


@lru_cache(maxsize=16)
def filesystem(scheme: str) -> Any:
    """The fsspec file system of a scheme, made once a process. Raises StoreError for an unknown one."""
    import fsspec

    try:
        return fsspec.filesystem(scheme)
    except (ValueError, ImportError) as error:
        raise StoreError(f"No access to {scheme}:// locations: {error}. Check the scheme, or install what it names.") from error


@contextlib.contextmanager
def reached(location: Location) -> Iterator[Any]:
    """The file system of a location. What a remote one refuses comes as StorageUnreachable; what is not there, or there already, passes."""
    try:
        yield filesystem(location.scheme)
    except (FileNotFoundError, FileExistsError, TrunklineError):
        raise
    except Exception as error:
        if location.is_local:
            raise
        raise StorageUnreachable(
            f"{location.uri} cannot be reached ({type(error).__name__}: {error}). Check the bucket's name, the credentials and the "
            "network, then start the same command again; what was committed is kept."
        ) from error


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
