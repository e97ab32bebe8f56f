"""The wanted files below a folder on any storage, streamed; what is held is one folder's names or a few pages, never the listing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trunkline.errors import SourceError
from trunkline.locations import Location, reached
from trunkline.sources import s3, walking_disk, walking_s3
from trunkline.sources.ahead import ahead
from trunkline.sources.base import Listed
from trunkline.sources.choice import Choice
from trunkline.sources.objects import look, remote_version

THREADS = 8


def below(folder: Location, choice: Choice) -> Iterator[Listed]:
    """Wanted files in an order that depends on the names alone; ids are relative to the folder.

    Raises
    ------
    SourceError : a folder that cannot be listed; its images would be marked as removed.
    StorageUnreachable : the storage does not answer.
    """
    if folder.is_local:
        return walking_disk.below(folder.uri, choice)
    if s3.is_s3(folder):
        return walking_s3.below(folder, choice)
    return _remote(folder, choice)


def _remote(root: Location, choice: Choice) -> Iterator[Listed]:
    """Folder by folder: first a folder's files, then the folders in it, a few of which are listed ahead."""
    with ThreadPoolExecutor(THREADS, "listing") as threads, ThreadPoolExecutor(THREADS, "looking") as lookers:
        yield from _under(root, _ls(root), "", choice, threads, lookers)


def _under(
    folder: Location,
    entries: list[dict[str, Any]],
    prefix: str,
    choice: Choice,
    threads: ThreadPoolExecutor,
    lookers: ThreadPoolExecutor,
) -> Iterator[Listed]:
    files = [each for each in entries if each["type"] != "directory" and choice.takes(prefix + each["name"])]
    if folder.scheme in ("http", "https"):  # a web page's links tell neither size nor tag
        looks = ahead(look, (Location(f"{folder.uri}/{each['name']}") for each in files), lookers, 4 * THREADS)
        yield from (Listed(prefix + each["name"], *found) for each, found in zip(files, looks, strict=True))
    else:
        yield from (Listed(prefix + each["name"], int(each["size"] or 0), remote_version(each)) for each in files)
    names = [each["name"] for each in entries if each["type"] == "directory" and choice.enters(prefix + each["name"])]
    inner = [Location(f"{folder.uri}/{name}") for name in names]
    for name, place, found in zip(names, inner, ahead(_ls, inner, threads, THREADS), strict=True):
        yield from _under(place, found, f"{prefix}{name}/", choice, threads, lookers)


def _ls(folder: Location) -> list[dict[str, Any]]:
    """What lies directly in a folder, afresh, sorted; names are last parts, hidden ones are left out."""
    try:
        with reached(folder) as remote:
            remote.invalidate_cache(folder.uri)
            found = remote.ls(folder.uri, detail=True)
            here = str(remote._strip_protocol(folder.uri)).strip("/")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(
            f"Cannot list {folder} (it is not there). Its images would be lost; check it, then scan again."
        ) from error
    named = [
        each | {"name": str(each["name"]).rstrip("/").rsplit("/", 1)[-1]}
        for each in found
        if str(each["name"]).strip("/") != here
    ]
    return sorted(
        (each for each in named if each["name"] and not each["name"].startswith(".")), key=lambda each: str(each["name"])
    )
