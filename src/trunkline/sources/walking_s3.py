"""The wanted objects below a folder of a bucket: several ranges of its keys are listed at once, page by page."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from trunkline.locations import Location
from trunkline.sources import s3
from trunkline.sources.base import Listed
from trunkline.sources.choice import Choice
from trunkline.sources.objects import remote_version

RANGES = 8  # listed at once
FEW_FOLDERS = 8  # fewer than these are opened, so that there are ranges enough
DEEPEST = 3


@dataclass(frozen=True)
class _Range:
    """All keys from the folder `first` to the folder `last` of one level, both with everything below them."""

    prefix: str
    first: str
    last: str


Found = list[dict[str, Any]]


def below(folder: Location, choice: Choice) -> Iterator[Listed]:
    """Pages of the ranges in turn: an order that depends on the keys alone."""
    _, key = s3.split(folder)
    root = f"{key}/" if key else ""
    with ThreadPoolExecutor(RANGES, "listing") as threads:
        for objects in _in_turn(folder, _ranges(folder, root + choice.start), threads):
            for each in objects:
                path = each["Key"][len(root) :]
                if choice.shows(path) and choice.takes(path):
                    yield Listed(path, int(each["Size"]), remote_version(each | {"size": each["Size"]}))


def _ranges(bucket: Location, prefix: str, depth: int = 1) -> Iterator[Found | _Range]:
    """Objects of a level as they are listed, and the ranges of keys below it."""
    for page in s3.pages(bucket, prefix, delimiter="/"):
        if page.objects:
            yield page.objects
        if page.is_last and len(page.folders) < FEW_FOLDERS and depth < DEEPEST:
            for folder in page.folders:
                yield from _ranges(bucket, folder, depth + 1)
            continue
        share = -(-len(page.folders) // RANGES) or 1
        for at in range(0, len(page.folders), share):
            some = page.folders[at : at + share]
            yield _Range(prefix, some[0], some[-1])


def _in_turn(bucket: Location, parts: Iterator[Found | _Range], threads: ThreadPoolExecutor) -> Iterator[Found]:
    """Pages of up to RANGES parts in turn; a part that has ended makes room for the next one."""
    turns: deque[tuple[Iterator[Found], Future[Found | None]]] = deque()

    def submit(pages: Iterator[Found]) -> None:
        turns.append((pages, threads.submit(next, pages, None)))

    try:
        while True:
            while len(turns) < RANGES and (part := next(parts, None)) is not None:
                submit(_pages_of(bucket, part) if isinstance(part, _Range) else iter([part]))
            if not turns:
                return
            pages, future = turns.popleft()
            objects = future.result()
            if objects is not None:
                submit(pages)
                yield objects
    finally:
        for _, future in turns:
            future.cancel()


def _pages_of(bucket: Location, keys: _Range) -> Iterator[Found]:
    """The objects of a range, but for those that lie between its folders: their level's own listing has them."""
    for page in s3.pages(bucket, keys.prefix, after=keys.first):
        inside = [each for each in page.objects if each["Key"] < keys.last or each["Key"].startswith(keys.last)]
        yield [each for each in inside if "/" in each["Key"][len(keys.prefix) :]]
        if len(inside) < len(page.objects):
            return
