"""Answers for new images as one file, written block by block: CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.errors import SpecError
from trunkline.heads.targets import Target
from trunkline.predictor.answers import Outputs, columns_of, fields_of
from trunkline.predictor.new_images import NewImage

SUFFIXES = (".csv", ".json", ".parquet")


class AnswerFile(Protocol):
    """Takes tables of the same schema, one after the other."""

    def write(self, table: pa.Table) -> None: ...


def table_of(target: Target, images: list[NewImage], outputs: Outputs) -> pa.Table:
    """`id`, `uri`, the answer, null where there is none, and `reason` and `detail`, empty where there is one.

    Parameters
    ----------
    outputs : (m, k), of the images that have features, in order.
    """
    schema = schema_of(target)
    numbers = iter(range(len(outputs)))
    places = pa.array([next(numbers) if image.features is not None else None for image in images], pa.int64())
    said = {
        name: pa.array([getattr(image, name) for image in images], pa.string()) for name in ("id", "uri", "reason", "detail")
    }
    fields = fields_of(target)
    answers = {field.name: column.take(places) for field, column in zip(fields, columns_of(target, outputs), strict=True)}
    return pa.table({field.name: (answers | said)[field.name] for field in schema}, schema=schema)


def schema_of(target: Target) -> pa.Schema:
    """Of the tables that `table_of` gives."""
    texts = [pa.field(name, pa.string()) for name in ("id", "uri", "reason", "detail")]
    return pa.schema([*texts[:2], *fields_of(target), *texts[2:]])


def suffix_in(out: str) -> str:
    """Which kind of file is asked for. Raises SpecError for another."""
    suffix = Path(out).suffix.lower()
    if suffix not in SUFFIXES:
        raise SpecError(f"What format is {out}? Its suffix is none of {', '.join(SUFFIXES)}. Name the file by one of them.")
    return suffix


@contextmanager
def opened(path: Path, suffix: str, target: Target, said: Mapping[str, str]) -> Iterator[AnswerFile]:
    """A file of that kind to write to.

    Parameters
    ----------
    path : a local file, which need not have the suffix.
    said : digests and names, into the metadata of a Parquet file; the other kinds have no place for them.
    """
    if suffix == ".parquet":
        schema = schema_of(target).with_metadata(dict(said))
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            yield _Parquet(writer)
    elif suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            yield _Csv(file, target)
    else:
        with path.open("w", encoding="utf-8") as file:
            yield (answers := _Json(file, target))
            answers.close()


class _Parquet:
    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table.replace_schema_metadata(self._writer.schema.metadata))


class _Csv:
    """A column a class or label for its probability, `p(<name>)`; several labels are joined by `|`."""

    def __init__(self, file: Any, target: Target) -> None:
        self._names = target.names
        self._columns = [field.name for field in schema_of(target) if field.name != "probabilities"]
        self._spread = target.kind != "regression"
        self._writer = csv.writer(file)
        self._writer.writerow([*self._columns, *(f"p({name})" for name in self._names if self._spread)])

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            cells = [self._cell(row[name]) for name in self._columns]
            shares = (row["probabilities"] or [None] * len(self._names)) if self._spread else []
            self._writer.writerow([*cells, *("" if share is None else repr(round(share, 7)) for share in shares)])

    @staticmethod
    def _cell(value: Any) -> Any:
        if isinstance(value, list):
            return "|".join(value)
        return "" if value is None else round(value, 7) if isinstance(value, float) else value


class _Json:
    """One array of objects, a line each; probabilities by name."""

    def __init__(self, file: Any, target: Target) -> None:
        self._file, self._names, self._between = file, target.names, "[\n"

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            if row.get("probabilities") is not None:
                row["probabilities"] = dict(zip(self._names, row["probabilities"], strict=True))
            self._file.write(self._between + json.dumps(row, ensure_ascii=False))
            self._between = ",\n"

    def close(self) -> None:
        self._file.write("[]\n" if self._between == "[\n" else "\n]\n")
