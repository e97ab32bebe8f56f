"""The files that a source of many images a file consists of: one file, a folder of them, or a glob."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from trunkline.errors import SourceError
from trunkline.locations import Location
from trunkline.sources import walking
from trunkline.sources.base import ADVICE, Listed, suffix_of
from trunkline.sources.choice import Choice, is_glob, parted
from trunkline.sources.folder import check_folder
from trunkline.sources.objects import MISSING, UNREADABLE, look


@dataclass(frozen=True)
class Files:
    """Files of some suffixes below `base`, by their names relative to it.

    Parameters
    ----------
    root : a file with one of the suffixes, a glob, or a folder.
    suffixes : in lower case, with the dot.
    """

    root: Location
    suffixes: frozenset[str]

    @property
    def is_one(self) -> bool:
        return not is_glob(self.root.uri) and suffix_of(self.root.name) in self.suffixes

    @cached_property
    def base(self) -> Location:
        """The folder that names are relative to; a single file's own."""
        if is_glob(self.root.uri):
            return parted(self.root)[0]
        return Location(self.root.uri.rsplit("/", 1)[0] or "/") if self.is_one else self.root

    def check(self) -> None:
        """Raise SourceError where the file or folder is not there."""
        if not self.is_one:
            check_folder(self.base)
            return
        if self.root.is_local and self.root.path.is_dir():
            raise SourceError(
                f"{self.root} is a folder. Name the files in it: --source '{self.root}/*{suffix_of(self.root.name)}'."
            )
        if look(self.root)[1] in (MISSING, UNREADABLE):
            raise SourceError(f"The source {self.root} does not exist, or cannot be read. {ADVICE}")

    def each(self) -> Iterator[Listed]:
        """The files, in a fixed order, with their versions. Raises SourceError where there are none."""
        self.check()
        if self.is_one:
            yield Listed(self.root.name, *look(self.root))
            return
        pattern = parted(self.root)[1] if is_glob(self.root.uri) else ""
        found = 0
        for found, file in enumerate(walking.below(self.base, Choice(self.suffixes, pattern)), 1):  # noqa: B007
            yield file
        if not found:
            raise SourceError(f"{self.root} holds no files named {' or '.join(sorted(self.suffixes))}. {ADVICE}")
