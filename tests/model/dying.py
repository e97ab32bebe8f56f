"""A process that dies at its n-th change of the store: from then on nothing it does reaches the disk any more."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHANGES = frozenset({"open", "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"})
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killed(BaseException):
    """Nothing catches it, as nothing survives `kill -9`."""


@dataclass
class Death:
    """When to die: before the change number `after` (from 0) of something below `root` whose path holds `part`."""

    root: str
    part: str
    after: int
    happened: bool = False
    at: str = ""

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        place = _changed(event, arguments)
        if not place.startswith(self.root) or threading.current_thread().name == "lease-heartbeat":
            return
        if not self.happened and self.part in place:
            self.after -= 1
            self.happened = self.after < 0
            self.at = f"{event} {place}"
        if self.happened:
            raise Killed(self.at)


_waiting: list[Death] = []
_listening: list[bool] = []


@contextlib.contextmanager
def dying(root: Path, part: str, after: int) -> Iterator[Death]:
    """Inside, this process dies as said; whether it did stands in `happened`."""
    if not _listening:
        _listening.append(True)
        sys.addaudithook(_hook)  # there is no way to take it away
    death = Death(f"{root}/", part, after)
    _waiting.append(death)
    try:
        with contextlib.suppress(Killed):
            yield death
    finally:
        _waiting.remove(death)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _waiting and event in CHANGES:
        _waiting[-1].see(event, arguments)


def _changed(event: str, arguments: tuple[Any, ...]) -> str:
    """What an event changes; '' for nothing."""
    if event == "open":
        place, mode, flags = arguments
        writes = bool(set(mode) & set("wxa+")) if isinstance(mode, str) else bool((flags or 0) & WRITING)
        return os.fsdecode(place) if writes and isinstance(place, str | bytes | os.PathLike) else ""
    place = arguments[1] if event in ("os.rename", "os.link") else arguments[0]
    if not isinstance(place, str | bytes | os.PathLike):
        return ""
    name, folder = os.fsdecode(place), arguments[-1]
    if not os.path.isabs(name) and isinstance(folder, int) and folder >= 0:  # noqa: PTH117
        return f"{os.readlink(f'/proc/self/fd/{folder}')}/{name}"  # noqa: PTH115
    return name
