"""The wanted files below a local folder, in order of folders and names, streamed."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from trunkline.errors import SourceError
from trunkline.sources.ahead import ahead
from trunkline.sources.base import Listed, as_text
from trunkline.sources.choice import Choice
from trunkline.sources.objects import DANGLING, local_version

STATS = 512  # names that one thread looks at in one go
THREADS = 8
SLOW_SECONDS = 1e-4  # a look that takes longer waits for a network, and others can wait beside it

Above = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class _Folder:
    path: str
    prefix: str
    above: Above


def below(root: str, choice: Choice) -> Iterator[Listed]:
    """Links to folders are followed, but for those that lead back to a folder above."""
    with ThreadPoolExecutor(THREADS, "stat") as threads:
        stack = [_parts(_Folder(root, "", frozenset()), choice)]
        while stack:
            part = next(stack[-1], None)
            if part is None:
                stack.pop()
            elif isinstance(part, _Folder):
                stack.append(_parts(part, choice))
            else:
                yield from _listed(part, threads)


@dataclass(frozen=True)
class _Files:
    """Files that follow each other in one folder."""

    folder: str
    prefix: str
    names: Sequence[str]


def _parts(folder: _Folder, choice: Choice) -> Iterator[_Folder | _Files]:
    """What is wanted of a folder, in order of names; only names are held."""
    names, folders, above = _scanned(folder, choice)
    start = 0
    for number, name in enumerate(names):
        if name in folders:
            if number > start:
                yield _Files(folder.path, folder.prefix, names[start:number])
            start = number + 1
            yield _Folder(os.path.join(folder.path, name), f"{folder.prefix}{name}/", above)  # noqa: PTH118
    if start < len(names):
        yield _Files(folder.path, folder.prefix, names[start:] if start else names)


def _scanned(folder: _Folder, choice: Choice) -> tuple[list[str], set[str], Above]:
    """Sorted names of wanted files and of folders, the set of the latter, and the folders above what is in them."""
    names, folders = [], set()
    try:
        here = os.stat(folder.path)  # noqa: PTH116 (a Path for each of many folders is slow)
        above = folder.above | {(here.st_dev, here.st_ino)}
        with os.scandir(folder.path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if _is_folder(entry, above):
                    if choice.enters(folder.prefix + name):
                        folders.add(name)
                        names.append(name)
                elif choice.takes(folder.prefix + name):
                    names.append(name)
    except OSError as error:
        raise SourceError(
            f"Cannot list {folder.path} ({error.strerror}). Its images would be lost; check its permissions."
        ) from error
    names.sort()
    return names, folders, above


def _listed(files: _Files, threads: ThreadPoolExecutor) -> Iterator[Listed]:
    """With their stats; by several threads where the first ones show that the disk is slow."""
    chunks = (_Files(files.folder, files.prefix, files.names[at : at + STATS]) for at in range(0, len(files.names), STATS))
    for chunk in chunks:
        started = time.perf_counter()
        found = _stats(chunk)
        is_slow = time.perf_counter() - started > SLOW_SECONDS * len(found)
        yield from found
        if is_slow:
            break
    for found in ahead(_stats, chunks, threads, 2 * THREADS):
        yield from found


def _stats(files: _Files) -> list[Listed]:
    folder = files.folder.rstrip("/") + "/"
    return [Listed(as_text(files.prefix + name), *_stat(folder + name)) for name in files.names]


def _is_folder(entry: os.DirEntry[str], above: Above) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        target = entry.stat()
    except OSError:
        return False
    return stat.S_ISDIR(target.st_mode) and (target.st_dev, target.st_ino) not in above


def _stat(path: str) -> tuple[int, str]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:  # a dangling link: it stays in the manifest, and extraction says why it cannot be read
        return 0, DANGLING
    return status.st_size, local_version(status)
