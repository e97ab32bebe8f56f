"""Which rows and columns: one selection that every way of reading understands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from trunkline.errors import DataError, did_you_mean
from trunkline.reading.snapshot import OK, STATUSES, Snapshot

SHOWN = 5  # names in a message
ROWS_AT_ONCE = 2**20  # whose ids are held at once
NEAR = 1000  # ids that are compared for `did you mean`

Names = str | Iterable[str]


class Choice(TypedDict, total=False):
    """The keywords of a selection beside `split`."""

    label: Names | None
    batch: int | Iterable[int] | None
    rows: slice | range | ArrayLike | None
    ids: Names | None
    layer: str | None
    columns: NDArray[np.bool_] | None
    mask: bool | str | os.PathLike[str]


@dataclass(frozen=True, eq=False)  # arrays do not compare as a whole
class Selection:
    """Rows that meet everything that is said, among those that are live and have features; and columns.

    Parameters
    ----------
    split, label : one name or several.
    batch : images that this batch of the manifest added (or these).
    rows : row numbers: a slice or range of the manifest's rows, or an array; those without features are passed over.
    ids : of images; each must be live and have features.
    layer : the first by default.
    columns : (dim,) bool; all by default.
    mask : True for the pinned mask of the default rule, or a mask's URI, in place of `columns`.
    """

    split: Names | None = None
    label: Names | None = None
    batch: int | Iterable[int] | None = None
    rows: slice | range | ArrayLike | None = None
    ids: Names | None = None
    layer: str | None = None
    columns: NDArray[np.bool_] | None = None
    mask: bool | str | os.PathLike[str] = False

    def __post_init__(self) -> None:
        for name in ("split", "label", "ids"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, (value,) if isinstance(value, str | int) else tuple(value))
        if self.columns is not None and self.mask is not False:
            raise DataError("Give either columns= or mask=: a mask says itself which columns stay.")

    def rows_of(self, snapshot: Snapshot) -> NDArray[np.int64]:
        """The rows that are meant, ascending, each once. Raises DataError for names and numbers that are not there."""
        wanted = snapshot.statuses() == OK
        if self.rows is not None:
            wanted &= _at(self.rows, snapshot.rows)
        if self.batch is not None:
            wanted &= _added(self.batch, snapshot)
        for what, names in (("split", self.split), ("label", self.label)):
            if names is not None:
                codes, known = snapshot.codes(what)
                wanted &= np.isin(codes, _codes(what, tuple(names), known))
        if self.ids is not None:
            wanted &= _with_ids(tuple(self.ids), snapshot)
        return np.flatnonzero(wanted)

    def layer_of(self, layers: Iterable[str]) -> str:
        """The layer that is meant. Raises DataError for an unknown one."""
        known = list(layers)
        if self.layer is None:
            return known[0]
        if self.layer not in known:
            raise DataError(
                f"There is no layer {self.layer!r}.{did_you_mean(self.layer, known)} There are: {', '.join(known)}."
            )
        return self.layer

    def columns_of(self, layer: str, width: int) -> NDArray[np.bool_] | None:
        """`columns`, checked. Raises DataError where they do not fit the layer."""
        if self.columns is None:
            return None
        columns = np.asarray(self.columns)
        if columns.dtype != np.bool_ or columns.shape != (width,):
            raise DataError(
                f"columns= is {columns.dtype} of shape {columns.shape}; {layer} needs one bool a feature: shape ({width},)."
            )
        return columns


def _at(rows: Any, count: int) -> NDArray[np.bool_]:
    """Whether a row is among the given numbers, (count,) bool."""
    chosen = np.zeros(count, bool)
    if isinstance(rows, slice):
        chosen[rows] = True
        return chosen
    numbers = np.asarray(rows)
    if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
        raise DataError(
            f"rows= is {numbers.dtype} of shape {numbers.shape}; it takes row numbers: a slice, a range, or whole numbers in one dimension."
        )
    outside = numbers[(numbers < 0) | (numbers >= count)]
    if outside.size:
        raise DataError(f"rows= names {_shown(outside.tolist())}, and the rows of the manifest are 0 to {count - 1}.")
    chosen[numbers.astype(np.int64)] = True
    return chosen


def _added(batch: int | Iterable[int], snapshot: Snapshot) -> NDArray[np.bool_]:
    chosen = np.zeros(snapshot.rows, bool)
    batches = snapshot.batches
    for number in [batch] if isinstance(batch, int | np.integer) else batch:
        if not 0 <= number < len(batches):
            raise DataError(f"There is no batch {number}; the manifest has {len(batches)}, numbered from 0.")
        start, stop, _ = batches[int(number)]
        chosen[start:stop] = True
    return chosen


def _codes(what: str, names: Sequence[object], known: Sequence[str]) -> list[int]:
    """Places of names; numbers are taken for the names that are written so."""
    for name in map(str, names):
        if name not in known:
            there = ", ".join(known[: 4 * SHOWN]) + (f" and {len(known) - 4 * SHOWN} more" if len(known) > 4 * SHOWN else "")
            raise DataError(f"There is no {what} {name!r}.{did_you_mean(name, known)} There are: {there or 'none'}.")
    return [known.index(str(name)) for name in names]


def _with_ids(ids: Sequence[str], snapshot: Snapshot) -> NDArray[np.bool_]:
    """Whether a row is the live one of an id that was asked for. Raises DataError for ids that have no features."""
    chosen = np.zeros(snapshot.rows, bool)
    wanted = pa.array(ids, pa.string())
    found: set[str] = set()
    for rows, there in _ids(snapshot, np.flatnonzero(snapshot.statuses() == OK)):
        hits = np.asarray(pc.is_in(there, wanted))
        chosen[rows[hits]] = True
        found.update(there.filter(pa.array(hits)).to_pylist())
    missing = [each for each in dict.fromkeys(ids) if each not in found]
    if missing:
        raise DataError(_about_missing(missing, snapshot))
    return chosen


def _ids(snapshot: Snapshot, rows: NDArray[np.int64]) -> Iterable[tuple[NDArray[np.int64], pa.Array]]:
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        yield some, snapshot.ids(some)


def _about_missing(missing: Sequence[str], snapshot: Snapshot) -> str:
    """Ids without features: what became of those that are known, or what may be meant by the others."""
    statuses = snapshot.statuses()
    known: dict[str, str] = {}
    for rows, there in _ids(snapshot, _held(snapshot)):
        hits = np.asarray(pc.is_in(there, pa.array(missing, pa.string())))
        said = (STATUSES[code] for code in statuses[rows[hits]])
        known.update(zip(there.filter(pa.array(hits)).to_pylist(), said, strict=True))
    unknown = [each for each in missing if each not in known]
    if unknown:
        return f"No image has the id {_shown(unknown)}.{did_you_mean(unknown[0], _near(unknown[0], snapshot))} index() lists them all."
    listed = _shown([f"{each} ({known[each]})" for each in missing], quote=False)
    return f"{len(missing)} of the images that ids= names have no features: {listed}. Leave them out; index() says what became of each."


def _near(wrong: str, snapshot: Snapshot) -> list[str]:
    """Ids that end or start like it; comparing it with millions would take minutes."""
    name, start = wrong.rsplit("/", 1)[-1], wrong[: max(1, len(wrong) // 2)]
    near: list[str] = []
    for _, there in _ids(snapshot, _held(snapshot)):
        alike = there.filter(pc.or_(pc.ends_with(there, name), pc.starts_with(there, start)))
        near += alike.slice(0, NEAR - len(near)).to_pylist()
    return near


def _held(snapshot: Snapshot) -> NDArray[np.int64]:
    """Every row that holds or held an image."""
    return np.concatenate([np.arange(0), *(np.arange(start, stop) for start, stop, _ in snapshot.batches)])


def _shown(values: Sequence[object], quote: bool = True) -> str:
    listed = ", ".join(repr(value) if quote else str(value) for value in values[:SHOWN])
    return listed + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
