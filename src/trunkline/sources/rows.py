"""The rows of tables, streamed: CSV by blocks, Parquet by batches; only the columns that are asked for, all as text."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.errors import SourceError
from trunkline.locations import Location, reached
from trunkline.sources.base import suffix_of

CSV = frozenset({".csv", ".tsv"})
PARQUET = frozenset({".parquet", ".pq"})
BATCH = 8192
BLOCK_BYTES = 4 * 2**20

Row = dict[str, str | None]


@dataclass(frozen=True)
class Table:
    """One CSV or Parquet file."""

    place: Location

    @property
    def is_csv(self) -> bool:
        return suffix_of(self.place.name) in CSV

    def schema(self) -> pa.Schema:
        """Its columns; all of a CSV's are text. Raises SourceError where it is no table."""
        with self.opened() as file:
            if self.is_csv:
                with self._csv(file, None) as reader:
                    return pa.schema([(name, pa.string()) for name in reader.schema.names])
            with pq.ParquetFile(file) as table:
                return table.schema_arrow

    def rows(self, columns: dict[str, str]) -> Iterator[Row]:
        """Each row as role → text, None for NULL; `columns` is role → column. Raises SourceError where the table is broken."""
        with self.opened() as file:
            batches = self._csv_batches(file, columns) if self.is_csv else self._parquet_batches(file, columns)
            for batch in batches:
                yield from self._texts(batch, columns)

    def group_rows(self, parquet: pq.ParquetFile, group: int, columns: dict[str, str]) -> Iterator[Row]:
        """The rows of one row group, as `rows` gives them; empty ones where no columns are asked for."""
        if not columns:
            yield from ({} for _ in range(parquet.metadata.row_group(group).num_rows))
            return
        for batch in parquet.iter_batches(BATCH, [group], sorted(set(columns.values())), use_threads=False):
            yield from self._texts(batch, columns)

    def _texts(self, batch: pa.RecordBatch, columns: dict[str, str]) -> Iterator[Row]:
        """A few rows at a time: text takes far more memory in Python than in Arrow."""
        for at in range(0, batch.num_rows, BATCH):
            some = batch.slice(at, BATCH)
            texts = [self._text(some.column(name), name).to_pylist() for name in columns.values()]
            for values in zip(*texts, strict=True):
                yield dict(zip(columns, values, strict=True))

    def _text(self, column: pa.Array, name: str) -> pa.Array:
        try:
            return column.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"The column {name!r} of {self.place} holds {column.type}, which is no text. Name another one."
            ) from error

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """The file, for reading; what Arrow says of it while it is open comes as SourceError."""
        if self.place.is_local:
            with self._errors_in_words(), pa.OSFile(self.place.uri) as file:
                yield file
        else:
            with reached(self.place) as remote, self._errors_in_words(), remote.open(self.place.uri, "rb") as file:
                yield file

    @contextlib.contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PermissionError) as error:
            raise SourceError(
                f"The table {self.place} cannot be read ({error.strerror or error}). Check its path and permissions."
            ) from error
        except (pa.ArrowInvalid, OSError) as error:
            words = re.sub(r"[?;]\S*", "?…", " ".join(str(error).split()))[:300]  # rows are quoted, and may hold signatures
            raise SourceError(f"The table {self.place} is broken: {words}. Its images would be lost; correct it.") from error

    def _csv_batches(self, file: Any, columns: dict[str, str]) -> Iterator[pa.RecordBatch]:
        with self._csv(file, sorted(set(columns.values()))) as reader:
            yield from reader

    def _csv(self, file: Any, names: Sequence[str] | None) -> Any:
        from pyarrow import csv

        texts = {name: pa.string() for name in names} if names else None
        return csv.open_csv(
            file,
            read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=csv.ParseOptions(
                delimiter="\t" if suffix_of(self.place.name) == ".tsv" else ",", newlines_in_values=True
            ),
            convert_options=csv.ConvertOptions(column_types=texts, include_columns=names, strings_can_be_null=False),
        )

    def _parquet_batches(self, file: Any, columns: dict[str, str]) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(file) as table:
            yield from table.iter_batches(BATCH, columns=sorted(set(columns.values())), use_threads=False)
