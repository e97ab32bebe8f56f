"""Tables of URIs: what rows mean, what is refused before anything is written, and streaming."""

from __future__ import annotations

import resource
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from trunkline.errors import SourceError, UnreadableImage
from trunkline.locations import Location
from trunkline.sources import Listed, TableSource
from trunkline.specs import ColumnsSpec


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "in/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(f"bytes of {name}".encode())
    return tmp_path


def csv(folder: Path, text: str | bytes, name: str = "table.csv", **columns: str) -> TableSource:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return TableSource(Location.of(folder / name), ColumnsSpec(**columns))


def read(source: TableSource, image: Listed) -> bytes:
    return source.read(image.id, image.version, image.place)


def test_a_row_is_an_image_and_its_uri_is_its_id(images: Path):
    source = csv(images, f"uri\nb.jpg\n./in/c.jpg\n{images}/a.jpg\nfile://{images}/a.jpg\n")
    found = list(source.listing())
    assert [image.id for image in found] == ["b.jpg", "./in/c.jpg", f"{images}/a.jpg", f"file://{images}/a.jpg"]
    assert {image.place for image in found} == {""}
    assert [read(source, image) for image in found] == [b"bytes of b.jpg", b"bytes of in/c.jpg", *[b"bytes of a.jpg"] * 2]
    assert found[0].size == len(b"bytes of b.jpg")
    assert source.uri_of("b.jpg") == f"{images}/b.jpg"


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_columns_say_id_label_and_split(images: Path, kind: str):
    rows: dict[str, list[Any]] = {
        "key": [7, 8, 9],
        "path": ["a.jpg", "b.jpg", "in/c.jpg"],
        "species": ["apple", " ", "größe, 漢"],
        "fold": ["Training", "", "valid"],
    }
    if kind == "parquet":
        rows |= {"species": ["apple", None, "größe, 漢"], "fold": ["Training", None, "valid"]}
        pq.write_table(pa.table(rows), images / "table.parquet")
    else:
        comma = "," if kind == "csv" else "\t"
        lines = [comma.join(f'"{value}"' for value in row) for row in zip(*rows.values(), strict=True)]
        (images / f"table.{kind}").write_text("\n".join([comma.join(rows), *lines]))
    columns = ColumnsSpec(id="key", uri="path", label="species", split="fold")
    source = TableSource(Location.of(images / f"table.{kind}"), columns)
    found = list(source.listing())
    assert [(image.id, image.place, image.label, image.split) for image in found] == [
        ("7", "a.jpg", "apple", "train"),
        ("8", "b.jpg", None, None),
        ("9", "in/c.jpg", "größe, 漢", "val"),
    ]
    assert read(source, found[2]) == b"bytes of in/c.jpg"
    assert source.uri_of("9", "in/c.jpg") == f"{images}/in/c.jpg"


def test_columns_named_label_and_split_are_read_unasked(images: Path):
    [image] = csv(images, "uri,label,split\na.jpg,apple,test\n").listing()
    assert (image.label, image.split) == ("apple", "test")


def test_what_does_not_exist_is_listed_and_then_missing(images: Path):
    source = csv(images, "uri\ngone.jpg\na.jpg/x.jpg\n")
    for image in source.listing():
        assert (image.size, image.version) == (0, "missing")
        with pytest.raises(UnreadableImage, match=r"missing|unreadable"):
            read(source, image)
    (images / "gone.jpg").write_bytes(b"now it is there")
    with pytest.raises(UnreadableImage, match="changed"):
        source.read("gone.jpg", "missing")


def test_a_version_of_the_table_is_believed_and_nothing_is_looked_at(images: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trunkline.sources.table.look", None)
    source = csv(images, "uri,etag,bytes\na.jpg,v1,3\ngone.jpg,v2,\n", version="etag", size="bytes")
    a, gone = source.listing()
    assert (a, gone) == (Listed("a.jpg", 3, "v1"), Listed("gone.jpg", 0, "v2"))
    assert read(source, a) == b"bytes of a.jpg"
    with pytest.raises(UnreadableImage, match="missing"):
        read(source, gone)


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        (
            "url\na.jpg\n",
            {},
            r"has no column 'uri' for the uri\. Did you mean url\? It has: url\. Name the right one with --uri-column",
        ),
        ("uri,labell\na.jpg,x\n", {"label": "label"}, r"no column 'label' for the label\. Did you mean labell\?"),
        ("uri,uri\na.jpg,b.jpg\n", {}, r"has 2 columns named 'uri', so which one holds the uri\? Rename one"),
        ("uri,x\na.jpg,1\n,2\n", {}, r"Row 2 of .*table\.csv has no URI, so there is no image to read"),
        ("uri,x\n  ,2\n", {}, r"Row 1 of .* has no URI"),
        ("uri,key\na.jpg,\n", {"id": "key"}, r"Row 1 of .* has no id; each image needs one"),
        ("uri,key\na.jpg,  \n", {"id": "key"}, r"Row 1 of .* has no id; each image needs one"),
        ("uri,key\na.jpg,12\nb.jpg," + "k" * 5000, {"id": "key"}, r"Row 2 of .* says an id of 5,000 characters; at most 4,096"),
        ("uri\n../a.jpg\n", {}, r"Row 1 of .* cannot be used\. .* Its URI is '\.\./a\.jpg'\.$"),
        ("uri,v\na.jpg,\n", {"version": "v"}, r"Row 1 of .* has no version; each image needs one"),
        (
            "uri,v,s\na.jpg,1,many\n",
            {"version": "v", "size": "s"},
            r"Row 1 of .* says a size of 'many'; sizes are whole numbers",
        ),
        ("uri,split\na.jpg,holdout\n", {}, r"Row 1 of .* says the split 'holdout'; splits are train, test and val"),
        ("uri,label\na.jpg," + "x" * 2000 + "\n", {}, r"says a label of 2,000 characters, which is no label"),
        ("uri\n../../etc/passwd\n", {}, r"Row 1 of .* cannot be used\. The name .* would leave .*Its URI is"),
        ("uri\na.jpg\nmemory://x/b.jpg\n", {}, r"Row 2 of .* lies on memory:// and row 1 of .*table\.csv on file://"),
        ("uri\ns3://\n", {}, r"Row 1 of .* cannot be used\. s3:// names no bucket"),
        ("uri\nzip://a.jpg::memory://x.zip\n", {}, r"Row 1 of .* cannot be used\. URLs that chain file systems are not read"),
        ("uri\nnovel://x/a.jpg\n", {}, r"Row 1 of .* cannot be used\. No access to novel:// locations"),
        ("", {}, r"The table .*table\.csv is broken: .*mpty CSV"),
        ("uri,x\na.jpg\n", {}, r"The table .* is broken: CSV parse error: .*Expected 2 columns, got 1"),
        ("uri,x\nhttps://x?sig=hush\n", {}, r"got 1: https://x\?….* Its images would be lost"),
        (b"uri\n\xff\xfe.jpg\n", {}, r"The table .* is broken: .*UTF8"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_words(images: Path, text: str | bytes, columns: dict[str, str], words: str):
    with pytest.raises(SourceError, match=words):
        list(csv(images, text, **columns).listing())


@pytest.mark.parametrize(
    "uri",
    [
        "https://host/a.jpg?X-Amz-Credential=x&X-Amz-Signature=hush",
        "https://account.blob/a.jpg?se=2026&sig=hush",
        "https://storage/a.jpg?X-Goog-Signature=hush",
        "s3://me:hush@bucket/a.jpg",
        "https://hush@host/a.jpg",
        "HTTPS://host/a.jpg?token=hush",
    ],
)
def test_a_secret_in_a_uri_is_refused_and_not_repeated(images: Path, uri: str):
    words = r"Row 2 of .* is a URL with a password or signature in it .*Give the plain URL"
    with pytest.raises(SourceError, match=words) as caught:
        list(csv(images, f"uri\na.jpg\n{uri}\n").listing())
    assert "hush" not in str(caught.value)


def test_null_uris_and_columns_of_no_text_are_refused(images: Path):
    pq.write_table(pa.table({"uri": pa.array([None], pa.string()), "label": [[1]]}), images / "t.parquet")
    with pytest.raises(SourceError, match=r"Row 1 of .* has no URI"):
        list(TableSource(Location.of(images / "t.parquet"), ColumnsSpec(label="uri")).listing())
    with pytest.raises(SourceError, match=r"The column 'label' of .* holds list<.*>, which is no text"):
        list(TableSource(Location.of(images / "t.parquet")).listing())


def test_no_parquet_at_all(images: Path):
    (images / "t.parquet").write_bytes(b"hello")
    with pytest.raises(SourceError, match=r"The table .*t\.parquet is broken: .*arquet"):
        list(TableSource(Location.of(images / "t.parquet")).listing())


def test_a_missing_table_is_said(images: Path):
    with pytest.raises(SourceError, match=r"The source .*no\.csv does not exist, or cannot be read\. Check the path"):
        TableSource(Location.of(images / "no.csv")).check()


def test_a_folder_in_a_tables_place_is_said(images: Path):
    (images / "t.parquet").mkdir()
    with pytest.raises(
        SourceError, match=r"t\.parquet is a folder\. Name the files in it: --source '.*t\.parquet/\*\.parquet'"
    ):
        TableSource(Location.of(images / "t.parquet")).check()


def test_several_tables_are_one_source(images: Path):
    csv(images, "uri\na.jpg\n", "1.csv")
    csv(images, "uri\nb.jpg\n", "2.csv")
    assert [image.id for image in TableSource(Location.of(f"{images}/*.csv")).listing()] == ["a.jpg", "b.jpg"]
    with pytest.raises(SourceError, match=r"in holds no files named \.csv or \.parquet or \.pq or \.tsv"):
        list(TableSource(Location.of(images / "in")).listing())


def test_a_remote_table_leads_to_its_own_folder_and_to_no_machines_files(images: Path):
    base = Location.of(f"memory://{uuid.uuid4().hex}")
    (base / "in/a.jpg").write(b"remote")
    (base / "t.csv").write(b"uri\nin/a.jpg\n")
    source = TableSource(base / "t.csv")
    [image] = source.listing()
    assert read(source, image) == b"remote"
    (base / "t.csv").write(f"uri\n{images}/a.jpg\n".encode())
    with pytest.raises(SourceError, match=r"Row 1 of .* cannot be used\. .*a\.jpg is a file of one machine, in a table"):
        list(source.listing())
    with pytest.raises(UnreadableImage, match="outside"):
        source.fetch(f"{images}/a.jpg")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_long_table_is_streamed(tmp_path: Path, kind: str):
    """Held as a list, its rows would take far more than this allows."""
    rows = 300_000
    uris, path = [f"folder/{number:09}.jpg" for number in range(rows)], tmp_path / f"t.{kind}"
    table = pa.table({"uri": uris, "v": ["1"] * rows})
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=50_000)
    else:
        pa.csv.write_csv(table, path)
    del uris, table
    source = TableSource(Location.of(path), ColumnsSpec(version="v"))
    next(source.listing())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in source.listing()) == rows
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024
