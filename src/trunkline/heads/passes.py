"""A pass over training rows: functions of blocks, summed; and what a process holds of the blocks between passes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import calls
from trunkline.heads.protocol import Features
from trunkline.heads.readers import Reader, Rows
from trunkline.heads.standard import Standard, prepared
from trunkline.heads.targets import Truth

Sums = tuple[Any, ...]


@dataclass(frozen=True)
class Block:
    """Consecutive training rows: place of the first one; (n, kept) float32 features; truth as in `Target`; (n,) int8 folds."""

    first: int
    x: Features
    truth: Truth
    folds: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Group:
    """Blocks that are worked on together: their bounds in training places, and what is known of their rows."""

    cuts: tuple[tuple[int, int], ...]
    rows: Rows
    truth: Truth
    folds: NDArray[np.int8]

    def __str__(self) -> str:
        return f"training rows {self.cuts[0][0]:,} to {self.cuts[-1][1]:,}"


@dataclass(frozen=True)
class Pass:
    """What is done with each block: `function(block, state)`; and how its features are read and held."""

    function: Callable[[Block, Any], Sums]
    state: Any
    reader: Reader
    columns: NDArray[np.bool_] | None
    standard: Standard | None
    token: str
    held_bytes: int


# What this process holds between passes: blocks of the rows that it worked on last.
_lock = threading.Lock()
_held: dict[tuple[int, int], Features] = {}
_holding: dict[str, Any] = {"token": "", "bytes": 0}


def of_group(job: Pass, numbered: tuple[int, Group]) -> tuple[int, Sums]:
    number, group = numbered
    start = group.cuts[0][0]
    total = Total()
    for first, last in group.cuts:
        calls.check_ended()
        inside = slice(first - start, last - start)
        x = _features(job, first, last, group.rows[inside])
        total.add(job.function(Block(first, x, group.truth[inside], group.folds[inside]), job.state))
    return number, total.sums


def _features(job: Pass, first: int, last: int, rows: Rows) -> Features:
    with _lock:
        if _holding["token"] != job.token:
            _held.clear()
            _holding.update(token=job.token, bytes=0)
        found = _held.get((first, last))
    if found is None:
        found = prepared(job.reader.read(rows, job.columns), job.standard)
        with _lock:
            if _holding["token"] == job.token and _holding["bytes"] + found.nbytes <= job.held_bytes:
                _held[first, last] = found
                _holding["bytes"] += found.nbytes
    return found


def forget() -> None:
    with _lock:
        _held.clear()
        _holding.update(token="", bytes=0)


class Total:
    """Sums added up one after the other, element by element; what comes as float32 is added up in float64."""

    def __init__(self) -> None:
        self.parts, self._sums = 0, list[Any]()

    @property
    def sums(self) -> Sums:
        return tuple(self._sums)

    def add(self, part: Sums) -> None:
        self.parts += 1
        if not self._sums:
            self._sums = [np.array(value, np.float64) if np.ndim(value) else value for value in part]
            return
        for place, value in enumerate(part):
            self._sums[place] += value
