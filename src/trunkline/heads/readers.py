"""What reads features of rows: a feature set's, or a matrix in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.protocol import Features

Rows = NDArray[np.int64]


class Reader(Protocol):
    """What reads features of rows; it can be pickled."""

    def read(self, rows: Rows, columns: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """(n, columns) of rows that ascend."""

    def cut(self, rows: Rows, most_bytes: int) -> list[tuple[int, int]]:
        """Slices of `rows` that are read well together."""

    def __dask_tokenize__(self) -> object:
        """What names its content."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """A reader of features that are in memory already, (n, kept) float32."""

    x: Features
    token: object = None  # what names the content; by default the array itself, which is nobody else's

    def read(self, rows: Rows, columns: NDArray[np.bool_] | None = None) -> Features:
        """(n, columns) of rows that ascend."""
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
            block = self.x[rows[0] : rows[-1] + 1]
        else:
            block = self.x[rows]
        return block if columns is None else block[:, columns]

    def cut(self, rows: Rows, most_bytes: int) -> list[tuple[int, int]]:
        """Slices of at most so many bytes, or one row."""
        step = max(1, most_bytes // max(self.x.shape[1] * 4, 1))
        return [(first, min(first + step, len(rows))) for first in range(0, len(rows), step)]

    def __dask_tokenize__(self) -> object:
        return id(self.x) if self.token is None else self.token
