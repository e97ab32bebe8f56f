"""Which kind of source a spec or a dataset means: what was said, or what its name and what lies there tell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from trunkline.errors import SourceError, StoreError
from trunkline.locations import Location, reached
from trunkline.sources import s3
from trunkline.sources.base import Source, is_image, suffix_of
from trunkline.sources.choice import is_glob
from trunkline.sources.columns import BOUND, DEFAULTS
from trunkline.sources.files import Files
from trunkline.sources.folder import FolderSource, GlobSource
from trunkline.sources.parquet_images import BytesSource
from trunkline.sources.row_groups import is_bytes
from trunkline.sources.rows import CSV, PARQUET, Table
from trunkline.sources.secrets import refuse_secret
from trunkline.sources.table import TableSource
from trunkline.sources.tar import TAR, TarSource
from trunkline.specs import ColumnsSpec, RunSpec

LOOKED_AT = 1000  # names of a folder that tell its kind


def source_of(spec: RunSpec) -> Source:
    """The source a spec asks for; `auto` looks at what lies there.

    Raises
    ------
    SourceError : a URL with a secret in it, columns for a source that has none, or a Parquet file that holds neither URIs nor images.
    """
    refuse_secret(spec.source, "The source")
    try:
        root = Location.of(spec.source)
    except StoreError as error:
        raise SourceError(str(error)) from error
    kind = _kind_of(root, spec.columns) if spec.source_kind == "auto" else spec.source_kind
    source = _made(kind, root, spec.columns)
    if kind not in ("table", "bytes") and (given := spec.columns.model_dump(exclude_none=True)):
        raise SourceError(
            f"{root} is a {kind}, which has no columns; --{next(iter(given))}-column is for tables. Leave it out."
        )
    return source


def bound(said: Mapping[str, Any]) -> Source:
    """The source that a `source.json` describes; without a kind it is a folder. Raises KeyError, TypeError or ValueError for another."""
    return _made(str(said.get("kind", "folder")), Location(said["root"]), ColumnsSpec.model_validate(said.get("columns", {})))


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sources have the same images: other columns of labels and splits change nothing about them."""

    def images(said: Mapping[str, Any]) -> tuple[object, ...]:
        columns = DEFAULTS | said.get("columns", {})
        return said.get("kind", "folder"), said["root"], *(columns.get(role) for role in BOUND)

    return images(one) == images(other)


def _made(kind: str, root: Location, columns: ColumnsSpec) -> Source:
    match kind:
        case "folder":
            return FolderSource(root)
        case "glob":
            return GlobSource(root)
        case "table":
            return TableSource(root, columns)
        case "tar":
            return TarSource(root)
        case "bytes":
            return BytesSource(root, columns)
    raise ValueError(f"no source is of the kind {kind!r}; an update of trunkline may know it")


def _kind_of(root: Location, columns: ColumnsSpec) -> str:
    suffix = suffix_of(root.name)
    if root.is_local and os.path.isdir(root.uri):  # noqa: PTH112 (a Path's fails on names that are too long)
        return _kind_of_folder(root, columns)
    if suffix in CSV:
        return "table"
    if suffix in TAR:
        return "tar"
    if suffix in PARQUET:
        return _kind_of_parquet(Files(root, PARQUET), columns)
    return "glob" if is_glob(root.uri) else _kind_of_folder(root, columns)


def _kind_of_folder(root: Location, columns: ColumnsSpec) -> str:
    """A folder that holds nothing but tars, or tables of one kind, and no images or folders, is a source of these."""
    suffixes = set()
    for name, is_folder in islice(_looked_at(root), LOOKED_AT):
        if is_folder or is_image(name):
            return "folder"
        suffixes.add(suffix_of(name))
    of_tables = [suffix for suffix in suffixes if suffix in TAR | PARQUET]
    if len(of_tables) != 1:
        return "folder"
    return "tar" if of_tables[0] in TAR else _kind_of_parquet(Files(root, PARQUET), columns)


def _looked_at(folder: Location) -> Iterator[tuple[str, bool]]:
    """Names of what lies directly in a folder, and whether each is one; nothing where there is no such folder."""
    if folder.is_local:
        entries = _entries(folder)
    elif s3.is_s3(folder):
        entries = _keys(folder)
    else:
        entries = _names(folder)
    yield from ((name, is_folder) for name, is_folder in entries if not name.startswith("."))


def _entries(folder: Location) -> Iterator[tuple[str, bool]]:
    try:
        with os.scandir(folder.uri) as entries:
            yield from ((each.name, each.is_dir()) for each in entries)
    except OSError:  # the listing says why, in words
        return


def _keys(folder: Location) -> Iterator[tuple[str, bool]]:
    _, key = s3.split(folder)
    prefix = f"{key}/" if key else ""
    for page in s3.pages(folder, prefix, delimiter="/"):
        yield from ((each.removeprefix(prefix).rstrip("/"), True) for each in page.folders)
        yield from ((name, False) for each in page.objects if (name := each["Key"].removeprefix(prefix)))


def _names(folder: Location) -> Iterator[tuple[str, bool]]:
    try:
        with reached(folder) as remote:
            found = remote.ls(folder.uri, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from ((str(each["name"]).rstrip("/").rsplit("/", 1)[-1], each["type"] == "directory") for each in found)


def _kind_of_parquet(files: Files, columns: ColumnsSpec) -> str:
    """By the columns that were named, or else by those of the first file."""
    if columns.uri or columns.image:
        return "table" if columns.uri else "bytes"
    first = next(files.each())
    place = files.base / first.id
    schema = Table(place).schema()
    if "uri" in schema.names:
        return "table"
    if "image" in schema.names and is_bytes(schema.field("image").type):
        return "bytes"
    raise SourceError(
        f"{place} has neither a column uri nor a column image of bytes; it has: {', '.join(schema.names)}. Name the one that leads to the "
        "images with --uri-column or --image-column."
    )
