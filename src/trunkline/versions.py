"""Labels and splits: numbered Parquet files of (row, value), the later one wins; images and features never change with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from trunkline.locations import Location
from trunkline.shards import BLOCK
from trunkline.tables import open_parquet, parquet_bytes


@dataclass(frozen=True)
class Versions:
    """Numbered Parquet files of (row, value); the later one wins. `folder` is `labels/` or `splits/` of a dataset."""

    folder: Location
    column: str

    def names(self) -> list[str]:
        return self.folder.names()

    def read(self, start: int, stop: int) -> list[str | None]:
        """The values of rows [start, stop), None where there is none; opens only the row groups that can hold them."""
        values: list[str | None] = [None] * (stop - start)
        for name in self.names():
            with open_parquet(self.folder / name) as file:
                for group in range(file.num_row_groups):
                    span = file.metadata.row_group(group).column(0).statistics
                    if span is None or (span.min < stop and span.max >= start):
                        table = file.read_row_group(group)
                        for row, value in zip(table["row"].to_pylist(), table[self.column].to_pylist(), strict=True):
                            if start <= row < stop:
                                values[row - start] = value
        return values

    def append(self, changes: Iterable[tuple[int, str]]) -> bool:
        """Write the changed rows as the next version; False where nothing changed."""
        rows = list(changes)
        if not rows:
            return False
        numbers, values = pa.array([row for row, _ in rows], pa.int64()), pa.array([value for _, value in rows], pa.string())
        content = parquet_bytes(pa.table({"row": numbers, self.column: values}), BLOCK)
        number = len(self.names())
        while True:
            try:
                (self.folder / f"{number:06d}.parquet").create(content)
                return True
            except FileExistsError:  # another scan took this number; these rows' values hold all the same
                number += 1
