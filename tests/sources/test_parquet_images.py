"""Image bytes in Parquet: rows by row groups, a group read once, and files that change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trunkline.errors import SourceError, UnreadableImage
from trunkline.locations import Location
from trunkline.sources import BytesSource, row_groups
from trunkline.specs import ColumnsSpec

ROWS = 25


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "_KEPT", row_groups._Kept())


def table(**more: list[Any]) -> pa.Table:
    return pa.table({"image": [f"image {row}".encode() for row in range(ROWS)]} | more)


def write(place: Location, rows: pa.Table, group: int = 10) -> None:
    out = pa.BufferOutputStream()
    pq.write_table(rows, out, row_group_size=group)
    place.write(out.getvalue().to_pybytes())


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location.of(tmp_path / "in/a.parquet" if request.param == "file" else f"memory://{tmp_path.name}/in/a.parquet")


def test_a_row_is_an_image(place: Location):
    write(place, table())
    source = BytesSource(place)
    images = list(source.listing())
    assert [image.id for image in images] == [f"a.parquet/{row}" for row in range(ROWS)]
    assert {(image.size, image.label, image.split) for image in images} == {(0, None, None)}
    assert [source.read(i.id, i.version, i.place) for i in images] == [f"image {row}".encode() for row in range(ROWS)]
    assert source.fetch(images[3].id, images[3].place) == (b"image 3", images[3].version)
    assert len({image.version for image in images}) == ROWS
    assert source.uri_of(images[12].id, images[12].place) == f"{place}#row-group=1&row=2"


def test_columns_say_id_label_and_split(place: Location):
    rows = pa.table(
        {
            "img": [{"bytes": b"one", "path": "x"}, {"bytes": None, "path": "y"}],
            "key": [7, 8],
            "label": pa.array(["apple", None]).dictionary_encode(),
            "fold": ["train", "test"],
        }
    )
    write(place, rows)
    source = BytesSource(place, ColumnsSpec(image="img", id="key", split="fold"))
    one, other = source.listing()
    assert [(image.id, image.label, image.split) for image in (one, other)] == [("7", "apple", "train"), ("8", None, "test")]
    assert source.read(one.id, one.version, one.place) == b"one"
    with pytest.raises(UnreadableImage, match="empty: the row holds no image"):
        source.read(other.id, other.version, other.place)


def test_a_row_group_is_read_once_by_many_threads(place: Location, monkeypatch: pytest.MonkeyPatch):
    write(place, table())
    groups, read = [], row_groups._read

    def counted(where: Location, group: int, column: str) -> Any:
        groups.append(group)
        return read(where, group, column)

    monkeypatch.setattr(row_groups, "_read", counted)
    source = BytesSource(place)
    images = list(source.listing())
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda image: source.read(image.id, image.version, image.place), images[:10]))
    assert groups == [0]
    for image in images:
        source.read(image.id, image.version, image.place)
    assert groups == [0, 1, 2]
    assert len(row_groups._KEPT._groups) == row_groups.KEPT


def test_a_file_that_changed_holds_no_image_of_the_scan(place: Location):
    write(place, table())
    source = BytesSource(place)
    images = list(source.listing())
    source.read(images[0].id, images[0].version, images[0].place)
    write(place, table(more=[0] * ROWS))
    after = list(source.listing())
    assert source.read(after[0].id, after[0].version, after[0].place) == b"image 0"  # what was kept is of the old file
    with pytest.raises(UnreadableImage, match="changed: not the file the scan saw"):
        source.read(images[0].id, images[0].version, images[0].place)
    write(place, table().slice(0, 3))
    for image, words in ((after[5], "changed: a.parquet has no such row any more"), (after[24], "no such row group or column")):
        with pytest.raises(UnreadableImage, match=words):
            source.fetch(image.id, image.place)
    place.write(b"PAR1 no longer")
    with pytest.raises(UnreadableImage, match="corrupt: "):
        source.fetch(after[0].id, after[0].place)
    place.remove()
    with pytest.raises(UnreadableImage, match="missing: not there any more"):
        source.fetch(after[0].id, after[0].place)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"image": "pixels"},
            r"has no column 'pixels' for the image\. It has: image, label\. Name the right one with --image-column",
        ),
        ({"image": "label"}, r"The column 'label' of .* holds string, no image bytes\. Name another with --image-column"),
        ({"id": "label"}, r"Row 2 of .* has no id; each image needs one"),
        ({"version": "label"}, r"holds the images themselves, so there is no use for --version-column"),
    ],
)
def test_columns_that_cannot_be_used_are_refused(place: Location, columns: dict[str, str], words: str):
    write(place, pa.table({"image": [b"1", b"2"], "label": ["x", ""]}))
    with pytest.raises(SourceError, match=words):
        list(BytesSource(place, ColumnsSpec(**columns)).listing())


def test_huge_row_groups_are_refused(place: Location, monkeypatch: pytest.MonkeyPatch):
    write(place, table())
    images = list(BytesSource(place).listing())
    monkeypatch.setattr(row_groups, "MAX_GROUP_BYTES", 100)
    monkeypatch.setattr("trunkline.sources.parquet_images.MAX_GROUP_BYTES", 100)
    with pytest.raises(SourceError, match=r"Row group 0 of .* holds .* MiB of images.*row_group_size, such as 100"):
        list(BytesSource(place).listing())
    with pytest.raises(UnreadableImage, match="too-large: row group 0 holds more than"):
        BytesSource(place).fetch(images[0].id, images[0].place)


@pytest.mark.parametrize("at", ["", "x", "0+1", "0+1@", "-1+0@a.parquet", "0+0@../a.parquet"])
def test_a_place_that_is_none_is_not_read(place: Location, at: str):
    with pytest.raises(UnreadableImage, match="outside"):
        BytesSource(place).fetch("a.parquet/0", at)
