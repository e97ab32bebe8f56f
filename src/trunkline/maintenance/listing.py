"""What lies in a store, object by object, with size and age: what garbage collection looks at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trunkline.locations import Location, reached


@dataclass(frozen=True)
class Found:
    """One object: its path below the folder that was listed, its bytes, and when it was written, in seconds since 1970.

    `written` is None where the storage does not tell.
    """

    name: str
    size: int
    written: float | None

    def is_older(self, seconds: float) -> bool:
        """By this host's clock; an object from the future, or of unknown age, is never old."""
        return seconds <= 0 or (self.written is not None and time.time() - self.written > seconds)


def objects_below(folder: Location) -> Iterator[Found]:
    """Every object at any depth, hidden ones included, in order of names."""
    try:
        with reached(folder) as files:
            files.invalidate_cache(folder.uri)
            found: dict[str, dict[str, Any]] = files.find(folder.uri, detail=True)
    except FileNotFoundError:
        return
    start = len(folder.uri.split("://", 1)[-1].strip("/")) + 1
    for name in sorted(found):
        yield Found(name.strip("/")[start:], int(found[name].get("size") or 0), _written(found[name]))


def _written(info: dict[str, Any]) -> float | None:
    for key in ("mtime", "LastModified", "modified", "updated", "created"):
        when = info.get(key)
        if isinstance(when, datetime):
            return when.timestamp()
        if isinstance(when, int | float):
            return float(when)
    return None
