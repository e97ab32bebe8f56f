"""Correlations of features, from a Gram matrix that is built out of core: blocks of rows, on any executor, the same sums in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError
from trunkline.fan_out import Executor
from trunkline.locations import Location
from trunkline.reading.feature_reader import FeatureReader
from trunkline.store.layout import ArrayLayout
from trunkline.variance_filter import NONE

MAX_FEATURES = 8192  # the matrix takes 512 MiB then
GROUP_ROWS = 65_536
BLOCK_BYTES = 16 * 2**20
UNIT = 2.0**-20  # sums of groups are whole multiples of it, so that adding them in any order gives the same bits
PRECISION = 1e-6  # correlations are rounded to it: float32 products say no more


@dataclass(frozen=True, eq=False)
class GramJob:
    """What all groups of rows have in common: where the features are, and how the chosen ones are standardised.

    `columns` is (dim,) bool; `means` and `deviations` are (columns,) float64.
    """

    location: Location
    layout: ArrayLayout
    layer: str
    columns: NDArray[np.bool_]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RowGroup:
    """Committed rows, ascending, (n,) int64; compared by identity, as an executor asks of its items."""

    rows: NDArray[np.int64]

    def __str__(self) -> str:
        return f"the correlations of rows {self.rows[0]} to {self.rows[-1]}"


def refuse_too_wide(layer: str, dim: int) -> None:
    """Raises DataError where the Gram matrix would not fit."""
    if dim > MAX_FEATURES:
        raise DataError(
            f"select.duplicates compares every feature with every other, and {layer} has {dim:,} of them: more than {MAX_FEATURES:,}, "
            f"whose matrix takes {8 * MAX_FEATURES**2 / 2**20:,.0f} MiB. Leave select.duplicates out, or extract pooled features "
            "(--pooling avg)."
        )


def groups_of(rows: NDArray[np.int64]) -> list[RowGroup]:
    """The rows in groups that do not depend on who computes them."""
    return [RowGroup(rows[first : first + GROUP_ROWS]) for first in range(0, len(rows), GROUP_ROWS)]


def gram_of(job: GramJob, group: RowGroup) -> tuple[int, NDArray[np.float64]]:
    """How many rows a group has, and the Gram matrix of their standardised features, (columns, columns) in whole multiples of `UNIT`.

    Products are float32, sums float64. No block of the features is larger than `BLOCK_BYTES`, or one shard.
    """
    reader = FeatureReader(job.location, job.layout, job.layer)
    total = np.zeros((len(job.means), len(job.means)))
    for first, last in reader.cut(group.rows, BLOCK_BYTES):
        block = reader.read(group.rows[first:last], job.columns)
        standardised = ((block - job.means) / job.deviations).astype(np.float32)
        total += standardised.T @ standardised
    total /= UNIT
    np.rint(total, out=total)
    total *= UNIT
    return len(group.rows), total


def correlations(
    job: GramJob, rows: NDArray[np.int64], executor: Executor, progress: Callable[[int], None]
) -> NDArray[np.float64]:
    """(columns, columns): Pearson's correlation of each pair over these rows, rounded to `PRECISION`; `progress` is told the rows done.

    Two matrices are held here, and two more in each process that works on a group.
    """
    total, done = np.zeros((len(job.means), len(job.means))), 0
    for count, part in executor.map(gram_of, job, groups_of(rows)):
        total += part  # exact: multiples of UNIT, all below 2**53 of them
        done += count
        progress(done)
    norms = np.sqrt(np.diagonal(total))
    total /= norms[:, None]
    total /= norms
    return np.round(total, round(-np.log10(PRECISION)), out=total)


def duplicates(found: NDArray[np.float64], columns: NDArray[np.bool_], at_least: float) -> NDArray[np.int32]:
    """(dim,): the first earlier feature that is kept and that this one correlates with, plus or minus; −1 where there is none.

    Parameters
    ----------
    found : correlations of the chosen features, (columns, columns).
    columns : (dim,) bool, which those are; no other one is a duplicate.
    at_least : how much they must correlate.
    """
    first = _first_alike(found, at_least)
    numbers = np.flatnonzero(columns)
    duplicate_of = np.full(len(columns), NONE, np.int32)
    duplicate_of[numbers] = np.where(first == NONE, NONE, numbers[first])
    return duplicate_of


def _first_alike(found: NDArray[np.float64], at_least: float) -> NDArray[np.intp]:
    """Greedy, in the order of the features: each that is still there takes all later ones that are like it."""
    first: NDArray[np.intp] = np.full(len(found), NONE, np.intp)
    for number in range(len(found)):
        if first[number] == NONE:
            later = first[number + 1 :]
            later[(later == NONE) & (np.abs(found[number, number + 1 :]) >= at_least)] = number
    return first
