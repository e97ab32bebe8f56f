"""Which source a spec means; what source.json says of it; and which change of columns is another source."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trunkline.errors import SourceError
from trunkline.locations import Location
from trunkline.sources import Source, bound, is_same, source_of
from trunkline.specs import ColumnsSpec, RunSpec


def source(uri: object, **said: object) -> Source:
    return source_of(RunSpec.model_validate({"source": str(uri), "store": "/nowhere"} | said))


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("names", "asked", "kind"),
    [
        (["a.jpg"], "", "folder"),
        ([], "", "folder"),
        (["0.tar", "1.tar"], "", "tar"),
        (["0.tar", "index.json"], "", "tar"),
        (["0.tar", "a.jpg"], "", "folder"),
        (["0.tar", "apple/a.jpg"], "", "folder"),
        (["0.tar", "b.parquet"], "", "folder"),
        (["0.tar"], "0.tar", "tar"),
        (["0.tar"], "*.tar", "tar"),
        (["a.csv"], "a.csv", "table"),
        (["a.tsv"], "a.TSV", "table"),
        (["a.jpg"], "*/**/*.jpg", "glob"),
        (["[a].d/a.jpg"], "[a].d", "folder"),
        (["a.tar/b.jpg"], "a.tar", "folder"),
        ([], "nothing-there", "folder"),
    ],
)
@pytest.mark.parametrize("where", ["disk", "memory"])
def test_auto_looks_at_the_name_and_at_what_lies_there(tmp_path: Path, where: str, names: list[str], asked: str, kind: str):
    if where == "memory":
        if asked in ("[a].d", "a.tar"):
            return  # a name decides where nobody can tell a folder from a prefix
        root = Location.of(f"memory://{uuid.uuid4().hex}/data")
        for name in names:
            (root / name).write(b"x")
    else:
        (tmp_path / "data").mkdir()
        write(tmp_path / "data", *names)
        root = Location.of(tmp_path / "data")
    assert source(f"{root}/{asked}").said()["kind"] == kind


def test_a_name_that_no_disk_takes_is_a_folder_that_does_not_exist():
    assert source("/" + "x" * 300).said()["kind"] == "folder"


@pytest.mark.parametrize(
    ("columns", "given", "kind"),
    [
        (["uri", "label"], {}, "table"),
        (["image", "label"], {}, "bytes"),
        (["path"], {"uri": "path"}, "table"),
        (["jpeg"], {"image": "jpeg"}, "bytes"),
    ],
)
def test_the_columns_of_a_parquet_file_tell_its_kind(tmp_path: Path, columns: list[str], given: dict[str, str], kind: str):
    values = {name: [b"x"] if name in ("image", "jpeg") else ["x"] for name in columns}
    pq.write_table(pa.table(values), tmp_path / "a.parquet")
    for uri in (tmp_path / "a.parquet", tmp_path / "*.parquet", tmp_path):
        assert source(uri, columns=given).said()["kind"] == kind


def test_a_parquet_file_of_neither_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"image": ["text"], "url": ["x"]}), tmp_path / "a.parquet")
    words = r"has neither a column uri nor a column image of bytes; it has: image, url\. Name the one"
    with pytest.raises(SourceError, match=words):
        source(tmp_path / "a.parquet")


@pytest.mark.parametrize(("kind", "uri"), [("folder", "/data/x.tar"), ("table", "/data/x"), ("glob", "/data/x"), ("tar", "/d")])
def test_a_kind_that_is_said_is_taken(kind: str, uri: str):
    assert source(uri, source_kind=kind).said() == {"kind": kind, "root": uri} | ({"columns": {}} if kind == "table" else {})


def test_columns_are_for_tables(tmp_path: Path):
    with pytest.raises(SourceError, match=r"is a folder, which has no columns; --label-column is for tables\. Leave it out"):
        source(tmp_path, columns={"label": "species"})


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@bucket/x.csv",
        "https://ghp_token@host/a.csv",
        "https://host/a.csv?X-Amz-Signature=secret",
        "https://host/a.csv?sv=1&sig=secret",
    ],
)
def test_a_url_with_a_secret_is_refused_without_repeating_it(uri: str):
    with pytest.raises(
        SourceError, match=r"The source is a URL with a password or signature in it \([a-z0-9]+://[a-z./]+\)"
    ) as caught:
        source(uri)
    assert "secret" not in str(caught.value).replace("would", "")
    assert "ghp_token" not in str(caught.value)


def test_a_url_of_nothing_is_refused():
    with pytest.raises(SourceError, match="names no bucket or folder"):
        source("s3://")


@pytest.mark.parametrize("kind", ["folder", "glob", "table", "tar", "bytes"])
def test_what_a_source_says_makes_it_again(kind: str):
    columns = {"id": "key", "label": "species"} if kind in ("table", "bytes") else {}
    one = source("/data/x", source_kind=kind, columns=columns)
    assert bound(one.said()) == one


def test_a_root_alone_is_a_folder():
    assert bound({"root": "/data"}).said() == {"kind": "folder", "root": "/data"}
    assert is_same({"root": "/data"}, {"kind": "folder", "root": "/data"})


@pytest.mark.parametrize("said", [{"root": "/x", "kind": "novel"}, {}, {"root": "/x", "kind": "table", "columns": {"x": 1}}])
def test_what_is_not_known_is_no_source(said: dict[str, object]):
    with pytest.raises((KeyError, ValueError)):
        bound(said)


@pytest.mark.parametrize(
    ("columns", "same"),
    [
        ({}, True),
        ({"uri": "uri"}, True),
        ({"label": "species"}, True),
        ({"split": "fold", "size": "bytes", "version": "etag"}, False),
        ({"id": "key"}, False),
        ({"uri": "path"}, False),
    ],
)
def test_labels_and_splits_may_come_from_other_columns(columns: dict[str, str], same: bool):
    one, other = (source("/x.csv", columns=ColumnsSpec(**each).model_dump()) for each in ({}, columns))
    assert is_same(one.said(), other.said()) is same
