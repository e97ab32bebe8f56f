"""The members of an uncompressed tar by their offsets, from its headers alone; what a header says is bounded and checked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from trunkline.errors import SourceError

BLOCK = 512
MAX_EXTENSION = 2**20  # bytes of a long name or of extended attributes
PLAIN, LINK, SPECIAL, FOLDER = "plain", "link", "special", "folder"
_LONG_NAME, _LONG_LINK, _EXTENDED, _GLOBAL, _SPARSE = b"L", b"K", b"x", b"g", b"S"


@dataclass(frozen=True)
class Member:
    """One member: its bytes lie at [offset, offset + size) of the tar; only plain ones have any."""

    name: str
    offset: int
    size: int
    kind: str


def members(file: BinaryIO, size: int, where: str) -> Iterator[Member]:
    """The members of a tar of `size` bytes, in order.

    Raises
    ------
    SourceError : it is compressed, no tar, cut off, or says what no honest tar says; members after that place would be lost.
    """
    at, said = 0, _Said()
    while at < size:
        file.seek(at)
        block = file.read(BLOCK)
        if not block.strip(b"\0"):
            return
        info = _header(block, at, where)
        has_bytes = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES or info.type in _EXTENSIONS
        length = said.size if said.size is not None and info.type not in _EXTENSIONS else info.size
        after = at + BLOCK + (-(-length // BLOCK) * BLOCK if has_bytes else 0)
        if length < 0 or (has_bytes and at + BLOCK + length > size):
            raise _broken(where, at, f"a member of {length:,} bytes does not fit into it; it is cut off")
        if info.type in _EXTENSIONS:
            said.hear(info.type, _extension(file, length, at, where))
        else:
            yield Member((said.name or info.name).removeprefix("./"), at + BLOCK, length, said.kind or _kind(info))
            said = _Said()
        at = after


_EXTENSIONS = frozenset({_LONG_NAME, _LONG_LINK, _EXTENDED, _GLOBAL, tarfile.SOLARIS_XHDTYPE})


class _Said:
    """What extension headers say of the member after them."""

    def __init__(self) -> None:
        self.name, self.kind = "", ""
        self.size: int | None = None

    def hear(self, type_: bytes, content: bytes) -> None:
        if type_ == _LONG_NAME:
            self.name = content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        elif type_ in (_EXTENDED, tarfile.SOLARIS_XHDTYPE):
            found = _attributes(content)
            self.name = found.get("path", self.name)
            self.size = int(found["size"]) if found.get("size", "").isdecimal() else self.size
            self.kind = SPECIAL if any(key.startswith("GNU.sparse") for key in found) else ""


def _header(block: bytes, at: int, where: str) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if at == 0:
            raise SourceError(
                f"{where} is no tar ({error}). Members are read by their offset, so a compressed tar cannot be used: unpack it with "
                "gunzip, zstd -d or the like."
            ) from error
        raise _broken(where, at, f"there is no header ({error})") from error


def _extension(file: BinaryIO, length: int, at: int, where: str) -> bytes:
    if length > MAX_EXTENSION:
        raise _broken(where, at, f"{length:,} bytes of attributes, which no honest tar has")
    return file.read(length)


def _broken(where: str, at: int, why: str) -> SourceError:
    return SourceError(
        f"{where} cannot be listed beyond byte {at:,}: {why}. The images behind it would be lost; make the tar anew."
    )


def _kind(info: tarfile.TarInfo) -> str:
    if info.type == _SPARSE:
        return SPECIAL
    if info.isreg():
        return PLAIN
    if info.isdir():
        return FOLDER
    return LINK if info.islnk() or info.issym() else SPECIAL


def _attributes(content: bytes) -> dict[str, str]:
    """The records `<length> <key>=<value>` of a pax header, up to the first one that is none."""
    found, at = {}, 0
    while (space := content.find(b" ", at, at + 20)) > 0 and content[at:space].isdigit():
        stop = at + int(content[at:space])
        if not space < stop <= len(content):
            break
        key, _, value = content[space + 1 : stop - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at = stop
    return found
