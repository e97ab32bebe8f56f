"""Image bytes in a column of Parquet files: binary, or a struct with a field `bytes` as Hugging Face writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.errors import SourceError, UnreadableImage
from trunkline.locations import Location
from trunkline.sources.base import Listed, unchanged
from trunkline.sources.columns import id_of, label_of, resolved, split_of
from trunkline.sources.files import Files
from trunkline.sources.folder import child_uri
from trunkline.sources.layout import SILENT, Layout
from trunkline.sources.row_groups import MAX_GROUP_BYTES, bytes_in_group, is_bytes, row_group
from trunkline.sources.rows import PARQUET, Table
from trunkline.specs import NO_COLUMNS, ColumnsSpec


@dataclass(frozen=True)
class BytesSource:
    """Images in Parquet files; ids are those of a column, or `<file>/<row>`. An image's version is its file's, with its row."""

    root: Location
    columns: ColumnsSpec = NO_COLUMNS
    tells_labels = True

    @property
    def is_local(self) -> bool:
        return self.root.is_local

    @cached_property
    def _files(self) -> Files:
        return Files(self.root, PARQUET)

    def check(self) -> None:
        self._files.check()

    def layout_of(self, folders: Iterable[str], labels: str) -> Layout:  # noqa: ARG002
        return SILENT

    def listing(self) -> Iterator[Listed]:
        """Every row of every file, in their order, without reading an image; sizes are not told.

        Raises
        ------
        SourceError : a missing file or column, a column of no bytes, or row groups too large to be held.
        """
        if given := [role for role in ("uri", "version", "size") if getattr(self.columns, role)]:
            raise SourceError(
                f"{self.root} holds the images themselves, so there is no use for --{given[0]}-column: a version is the file's own. "
                "Leave it out."
            )
        for file in self._files.each():
            yield from self._images(file)

    def uri_of(self, image_id: str, place: str = "") -> str:
        where, _, name = place.partition("@")
        return child_uri(self._files.base, f"{name}#row-group={where.replace('+', '&row=')}" if name else image_id)

    def read(self, image_id: str, version: str, place: str = "") -> bytes:  # noqa: ARG002
        return unchanged(self._fetched(place, version), version)

    def fetch(self, image_id: str, place: str = "") -> tuple[bytes, str]:  # noqa: ARG002 (the place says it all)
        return self._fetched(place, None)

    def said(self) -> dict[str, Any]:
        return {"kind": "bytes", "root": self.root.uri, "columns": self.columns.model_dump(exclude_none=True)}

    def _images(self, file: Listed) -> Iterator[Listed]:
        table = Table(self._files.base / file.id)
        schema = table.schema()
        columns = resolved(self.columns, ("image",), ("id", "label", "split"), schema.names, table.place)
        image = columns.pop("image")
        if not is_bytes(schema.field(image).type):
            raise SourceError(
                f"The column {image!r} of {table.place} holds {schema.field(image).type}, no image bytes. Name another with --image-column."
            )
        number = 0
        with table.opened() as opened, pq.ParquetFile(opened) as parquet:
            for group in range(parquet.num_row_groups):
                _refuse_if_huge(parquet.metadata.row_group(group), image, group, table.place)
                rows = table.group_rows(parquet, group, columns)
                for row, said in enumerate(rows):
                    where = f"Row {number + 1:,} of {table.place}"
                    image_id = id_of(said.get("id", f"{file.id}/{number}"), where)
                    label, split = label_of(said.get("label"), where), split_of(said.get("split"), where)
                    at = f"{group}+{row}"
                    yield Listed(image_id, 0, f"{file.version}@{at}", f"{at}@{file.id}", label, split)
                    number += 1

    def _fetched(self, place: str, version: str | None) -> tuple[bytes, str]:
        at, _, name = place.partition("@")
        group, plus, row = at.partition("+")
        if not (plus and name and group.isdecimal() and row.isdecimal()):
            raise UnreadableImage("outside", f"the place {place!r} names no row of a Parquet file")
        wanted = version.rpartition("@")[0] if version is not None else None
        images, seen = row_group(self._files.base, name, int(group), self.columns.image or "image", wanted)
        if int(row) >= len(images):
            raise UnreadableImage("changed", f"{name} has no such row any more; scan again")
        content = _content(images[int(row)])
        if content is None:
            raise UnreadableImage("empty", "the row holds no image")
        return content, f"{seen}@{at}"


def _content(value: pa.Scalar) -> bytes | None:
    found = value.as_py()
    content: bytes | None = found["bytes"] if isinstance(found, dict) else found
    return content


def _refuse_if_huge(group: Any, image: str, number: int, place: Location) -> None:
    if (size := bytes_in_group(group, image)) > MAX_GROUP_BYTES:
        raise SourceError(
            f"Row group {number} of {place} holds {size / 2**20:,.0f} MiB of images; a worker holds whole groups, at most "
            f"{MAX_GROUP_BYTES >> 20} MiB. Write the file with a smaller row_group_size, such as 100."
        )
