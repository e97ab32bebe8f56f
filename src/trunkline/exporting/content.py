"""What an export holds: which rows and columns, what they are called, and the features, a few shards at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline.errors import DataError
from trunkline.reader import Features

BLOCK_BYTES = 32 * 2**20  # a block is this large, or one shard where that is larger
INDEX = ("row", "id", "label", "split", "sha256")


@dataclass(frozen=True)
class Kept:
    """The columns that a mask keeps: (dim,) bool, and the mask's digest."""

    columns: NDArray[np.bool_]
    digest: str

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Which columns of the feature set the export's columns are, ascending."""
        return np.flatnonzero(self.columns).astype(np.int64)


@dataclass(frozen=True)
class Block:
    """Rows [first, last) of the export: features (last − first, width), and their lines of the index."""

    first: int
    last: int
    features: NDArray[Any]
    index: pa.Table


class Content:
    """The live rows of a feature set that have features, of one split or all, in row order.

    Parameters
    ----------
    features : the snapshot to export.
    split : of these rows alone; all by default.
    layer : which array; the first by default.
    kept : the columns to write; all by default.

    Raises
    ------
    DataError : no rows, or an unknown split or layer.
    """

    def __init__(self, features: Features, split: str | None, layer: str | None, kept: Kept | None) -> None:
        self._features = features
        self._kept = kept
        self.split = split
        self.layer = layer if layer is not None else next(iter(features.layers))
        none = np.empty(0, np.int64)
        self.dtype: np.dtype[Any] = self._read(none).dtype  # an unknown layer is refused here
        self.rows = features.rows(split)
        if not len(self.rows):
            raise DataError(
                f"{features.uri} holds no features{f' of the split {split}' if split else ''} yet. Run `trunkline extract`."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, width), or (n, height, width, channels) where maps are kept and no column is left out."""
        inner = (int(self._kept.columns.sum()),) if self._kept else self._features.feature_set.layout.shape(self.layer)
        return (len(self.rows), *inner)

    @property
    def width(self) -> int:
        return int(np.prod(self.shape[1:]))

    @property
    def bytes(self) -> int:
        """Of the features alone."""
        return len(self.rows) * self.width * self.dtype.itemsize

    @property
    def columns(self) -> NDArray[np.int64] | None:
        """Which columns of the feature set were written; None for all."""
        return self._kept.numbers if self._kept else None

    @property
    def said(self) -> dict[str, str]:
        """What the file says of itself, in words and digests."""
        recipe = self._features.recipe
        return {
            "made_by": "trunkline",
            "dataset": self._features.dataset.name,
            "recipe": recipe.digest(),
            "recipe_json": json.dumps(recipe.model_dump(mode="json")),
            "layer": self.layer,
            "split": self.split or "",
            "mask": self._kept.digest if self._kept else "",
        }

    def blocks(self) -> Iterator[Block]:
        """All rows, in order; a block never ends inside a shard."""
        shard = self._features.feature_set.layout.rows_per_shard
        row_bytes = self._features.layers[self.layer] * self.dtype.itemsize
        span = shard * max(1, BLOCK_BYTES // (shard * row_bytes))
        edges = [*np.flatnonzero(np.diff(self.rows // span, prepend=-1)).tolist(), len(self.rows)]
        for first, last in pairwise(edges):
            rows = self.rows[first:last]
            yield Block(first, last, self._read(rows), self._index.take(pa.array(self._positions(rows))))

    def _read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        return self._features.read(rows, self.layer, self._kept.columns if self._kept else None)

    def _positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._row_numbers, rows)

    @cached_property
    def _index(self) -> pa.Table:
        return self._features.index().select(list(INDEX))

    @cached_property
    def _row_numbers(self) -> NDArray[np.int64]:
        numbers: NDArray[np.int64] = self._index["row"].to_numpy()
        return numbers
