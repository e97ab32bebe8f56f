"""Labels and splits: numbered Parquet files of (row, value), the later one wins; images and features never change with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline.locations import Location
from trunkline.tables import open_parquet, parquet_bytes

GROUP_ROWS = 65_536
NO_VALUE = -1


@dataclass(frozen=True)
class Values:
    """A value a row: (rows,) int32 codes into `names`, −1 where a row has none."""

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """(n,) str or None."""
        known = np.array([*self.names, None], object)
        found: NDArray[np.object_] = known[self.codes[rows]]
        return found

    def code(self, name: str) -> int:
        """−2, which no row has, where no row ever had this value."""
        return self._numbers.get(name, -2)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}


@dataclass(frozen=True)
class Versions:
    """Numbered Parquet files of (row, value); the later one wins. `folder` is `labels/` or `splits/` of a dataset."""

    folder: Location
    column: str

    def names(self) -> list[str]:
        return self.folder.names()

    def values(self, rows: int, files: Sequence[str] | None = None) -> Values:
        """The values of rows [0, rows); of these files alone, as a snapshot listed them, or of all."""
        codes = np.full(rows, NO_VALUE, np.int32)
        numbers: dict[str | None, int] = {None: NO_VALUE}
        for name in self.names() if files is None else files:
            with open_parquet(self.folder / name, dictionaries=[self.column]) as file:
                for batch in file.iter_batches(GROUP_ROWS):
                    told = batch.column(self.column)
                    for value in told.dictionary.to_pylist():
                        numbers.setdefault(value, len(numbers) - 1)
                    mapped = np.array([*(numbers[value] for value in told.dictionary.to_pylist()), NO_VALUE], np.int32)
                    places = batch.column("row").to_numpy()
                    inside = places < rows
                    codes[places[inside]] = mapped[told.indices.fill_null(len(mapped) - 1).to_numpy()][inside]
        return Values(codes, tuple(name for name in numbers if name is not None))

    def append(self, rows: NDArray[np.int64], values: pa.Array | pa.ChunkedArray) -> bool:
        """Write the values of these rows as the next version, null where a row has none any more; False where there are no rows."""
        if not len(rows):
            return False
        told = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        table = pa.table({"row": pa.array(rows, pa.int64()), self.column: told})
        content = parquet_bytes(table, GROUP_ROWS)
        number = len(self.names())
        while True:
            try:
                (self.folder / f"{number:06d}.parquet").create(content)
                return True
            except FileExistsError:  # another scan took this number; these rows' values hold all the same
                number += 1
