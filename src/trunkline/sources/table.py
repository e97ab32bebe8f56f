"""Tables of URIs: a CSV or Parquet file with a row an image, or several of them.

Relative URIs are relative to the table's folder and may not leave it. The images may lie on any one kind of storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from trunkline.errors import SourceError, StoreError, UnreadableImage
from trunkline.locations import Location, filesystem
from trunkline.sources.ahead import ahead
from trunkline.sources.base import Listed, unchanged
from trunkline.sources.columns import id_of, label_of, resolved, split_of
from trunkline.sources.files import Files
from trunkline.sources.layout import SILENT, Layout
from trunkline.sources.objects import fetch, look
from trunkline.sources.rows import CSV, PARQUET, Row, Table
from trunkline.sources.secrets import has_secret, refuse_secret, without_secret
from trunkline.specs import NO_COLUMNS, ColumnsSpec

THREADS = 32  # that ask a storage for sizes and versions
LOOKS = 16  # of one thread in one go


@dataclass(frozen=True)
class TableSource:
    """Images by their URIs; a row's id is its URI unless a column holds ids.

    Parameters
    ----------
    root : a table, a glob of tables or a folder of tables.
    columns : which columns hold what. Versions of a column are believed; otherwise every image is looked at in each scan.
    """

    root: Location
    columns: ColumnsSpec = NO_COLUMNS
    tells_labels = True

    @property
    def is_local(self) -> bool:
        """The URIs may lead anywhere, and many threads do no harm on a disk."""
        return False

    @cached_property
    def _files(self) -> Files:
        return Files(self.root, CSV | PARQUET)

    def check(self) -> None:
        self._files.check()

    def layout_of(self, folders: Iterable[str], labels: str) -> Layout:  # noqa: ARG002
        return SILENT

    def listing(self) -> Iterator[Listed]:
        """Every row of every table, in their order. An image that is not there has size 0 and the version `missing`.

        Raises
        ------
        SourceError : a missing table or column, a row without URI or id, URIs of several schemes or with secrets in them.
        """
        with ThreadPoolExecutor(THREADS, "looking") as threads:
            rows = self._rows()
            chunks = iter(lambda: list(islice(rows, LOOKS)), [])
            for images in ahead(self._looked, chunks, threads, 2 * THREADS):
                yield from images

    def uri_of(self, image_id: str, place: str = "") -> str:
        try:
            return self._place(place or image_id).uri
        except StoreError:
            return place or image_id

    def read(self, image_id: str, version: str, place: str = "") -> bytes:
        fetched = self.fetch(image_id, place)
        return fetched[0] if self.columns.version else unchanged(fetched, version)

    def fetch(self, image_id: str, place: str = "") -> tuple[bytes, str]:
        try:
            where = self._place(place or image_id)
        except StoreError as error:
            raise UnreadableImage("outside", "the URI leaves the table's folder") from error
        return fetch(where)

    def said(self) -> dict[str, Any]:
        return {"kind": "table", "root": self.root.uri, "columns": self.columns.model_dump(exclude_none=True)}

    def _place(self, uri: str) -> Location:
        """Where a URI leads. Raises StoreError where it may not: out of the table's folder, or from a bucket to this machine's files."""
        base = self._files.base
        if "://" not in uri and not uri.startswith("/"):
            return base / uri.removeprefix("./")
        if "::" in uri:
            raise StoreError("URLs that chain file systems are not read.")
        place = Location.of(uri)
        if place.is_local and not base.is_local:
            raise StoreError(f"{uri} is a file of one machine, in a table that lies on {base.scheme}://.")
        return place

    def _rows(self) -> Iterator[tuple[Listed, Location]]:
        """What the rows say, checked, and where each leads."""
        first: tuple[str, str] | None = None
        for file in self._files.each():
            table = Table(self._files.base / file.id)
            names = table.schema().names
            columns = resolved(self.columns, ("uri",), ("id", "label", "split", "version", "size"), names, table.place)
            for number, row in enumerate(table.rows(columns), 1):
                image, place = self._checked(row, table.place, number, first[0] if first else "")
                first = first or (place.scheme, f"row {number:,} of {table.place}")
                if place.scheme != first[0]:
                    raise SourceError(
                        f"Row {number:,} of {table.place} lies on {place.scheme}:// and {first[1]} on {first[0]}://. A dataset has "
                        "its images on one kind of storage: make a table, and a dataset, of each."
                    )
                yield image, place

    def _checked(self, row: Row, table: Location, number: int, known: str) -> tuple[Listed, Location]:
        """`known` is a scheme that was reached before."""
        where = f"Row {number:,} of {table}"
        uri = row["uri"]
        if not uri or not uri.strip():
            raise SourceError(f"{where} has no URI, so there is no image to read. Correct the table, or --uri-column.")
        if has_secret(uri):
            refuse_secret(uri, where)
        try:
            place = self._place(uri)
            if place.scheme != known:
                filesystem(place.scheme)
        except StoreError as error:
            raise SourceError(f"{where} cannot be used. {error} Its URI is {without_secret(uri)!r}.") from error
        image_id, version, size = id_of(row.get("id", uri), where), row.get("version", "-"), row.get("size", "0")
        if not version:
            raise SourceError(f"{where} has no version; each image needs one. Correct the table, or the mapping.")
        if size and not size.isdecimal():
            raise SourceError(
                f"{where} says a size of {size[:40]!r}; sizes are whole numbers of bytes. Correct it, or map no size column."
            )
        label, split = label_of(row.get("label"), where), split_of(row.get("split"), where)
        return Listed(image_id, int(size or 0), version, "" if image_id == uri else uri, label, split), place

    def _looked(self, rows: list[tuple[Listed, Location]]) -> list[Listed]:
        """With sizes and versions as the storage says them, unless the table does."""
        if self.columns.version:
            return [image for image, _ in rows]
        looks = [look(place) for _, place in rows]
        return [
            Listed(image.id, size, version, image.place, image.label, image.split)
            for (image, _), (size, version) in zip(rows, looks, strict=True)
        ]
