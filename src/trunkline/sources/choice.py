"""Which files of a tree are wanted: by suffix, and by a glob pattern where one was given."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from functools import cached_property

from trunkline.locations import Location
from trunkline.sources.base import suffix_of

WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Choice:
    """Files with one of the suffixes that match the pattern; hidden ones, and those in hidden folders, never.

    Parameters
    ----------
    suffixes : in lower case, with the dot.
    pattern : relative to the folder that is listed; `*` and `?` stay within a name, `**` is any number of folders. Empty: everything.
    """

    suffixes: frozenset[str]
    pattern: str = ""

    def takes(self, path: str) -> bool:
        """Whether a file is wanted; `path` is relative, its folders are among those entered."""
        return suffix_of(path) in self.suffixes and (not self.pattern or _match(path.split("/"), self._parts))

    def enters(self, folder: str) -> bool:
        """Whether wanted files may lie below a folder; `folder` is relative."""
        if not self.pattern:
            return True
        names, parts = folder.split("/"), self._parts
        for name, part in zip(names, parts, strict=False):
            if part == "**":
                return True
            if not fnmatch.fnmatchcase(name, part):
                return False
        return len(names) < len(parts)

    def shows(self, path: str) -> bool:
        """Whether neither a file nor a folder above it is hidden."""
        return not path.startswith(".") and "/." not in path

    @property
    def start(self) -> str:
        """What the names of all wanted files start with; may end within a name."""
        found = WILD.search(self.pattern)
        return self.pattern[: found.start()] if found else self.pattern

    @cached_property
    def _parts(self) -> list[str]:
        parts = self.pattern.split("/")
        return [part for part, after in zip(parts, [*parts[1:], ""], strict=True) if not part == after == "**"]


def is_glob(uri: str) -> bool:
    return WILD.search(uri) is not None


def parted(root: Location) -> tuple[Location, str]:
    """A glob as the folder above its first wildcard, and the pattern below it."""
    before = WILD.split(root.uri, maxsplit=1)[0]
    folder = before.rsplit("/", 1)[0]
    return Location(folder or "/"), root.uri[len(folder) + 1 :]


def _match(names: list[str], parts: list[str]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_match(names[skipped:], parts[1:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], parts[0]) and _match(names[1:], parts[1:])
