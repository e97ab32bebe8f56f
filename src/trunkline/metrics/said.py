"""Figures as plain JSON and back. JSON has no NaN: it is written as null, and null is read as NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Said = Mapping[str, Any]


def number(value: float) -> float | None:
    """A float for JSON; None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [number(value) for value in values.tolist()]


def float_of(value: Any, name: str) -> float:
    """Raises ValueError for what is neither a number nor null."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r}, which is no number")
    return float(value)


def count_of(value: Any, name: str) -> int:
    """Raises ValueError for what is no number of things."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value >= 2**63:
        raise ValueError(f"{name} is {value!r}, which is no count")
    return value


def floats_of(values: Any, name: str, length: int | None = None) -> NDArray[np.float64]:
    """(length,) float64. Raises ValueError for what is no list of numbers, or of another length."""
    return np.array([float_of(value, name) for value in _list(values, name, length)], np.float64)


def counts_of(values: Any, name: str, length: int | None = None) -> NDArray[np.int64]:
    """(length,) int64. Raises ValueError for what is no list of counts, or of another length."""
    return np.array([count_of(value, name) for value in _list(values, name, length)], np.int64)


def mapping_of(value: Any, name: str) -> Said:
    """Raises ValueError for what is no mapping."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is no mapping of names to values")
    return value


def _list(values: Any, name: str, length: int | None) -> Sequence[Any]:
    if not isinstance(values, list):
        raise ValueError(f"{name} is no list")
    if length is not None and len(values) != length:
        raise ValueError(f"{name} holds {len(values)} values and not {length}")
    return values
