"""One call of a `map` on a worker: it can be told that nobody waits for it any more, and its process is looked at before its first one.

A process keeps what it was told: the tokens of maps that have ended, and how many calls of each map it works on.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from trunkline.errors import RunEnded

Job = TypeVar("Job")
Item = TypeVar("Item")
Receipt = TypeVar("Receipt")
Admission = Callable[[], None]

_lock = threading.Lock()
_ended: set[str] = set()
_working: Counter[str] = Counter()
_here = threading.local()


def call(token: str, admission: Admission | None, function: Callable[[Job, Item], Receipt], job: Job, item: Item) -> Receipt:
    """`function(job, item)`, as one call of the map `token`.

    Parameters
    ----------
    admission : raises where this process must not work; it remembers by itself that it was asked.

    Raises
    ------
    RunEnded : the map has ended.
    """
    with _lock:
        _working[token] += 1
    outer, _here.token = getattr(_here, "token", None), token
    try:
        check_ended()
        if admission is not None:
            admission()
        return function(job, item)
    finally:
        _here.token = outer
        with _lock:
            _working[token] -= 1
            if not _working[token]:
                del _working[token]


def end(token: str) -> None:
    """Calls of this map, here and to come, end at their next `check_ended`."""
    with _lock:
        _ended.add(token)


def working(token: str) -> int:
    """How many calls of this map this process works on."""
    with _lock:
        return _working[token]


def check_ended() -> None:
    """Raise RunEnded in a thread whose map has ended; costs less than a microsecond, so it can stand before every batch."""
    token: Any = getattr(_here, "token", None)
    if token in _ended:
        raise RunEnded("The run that asked for this work has ended; nothing more is computed or written for it.")
