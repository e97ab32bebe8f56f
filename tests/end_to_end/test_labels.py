"""Labels and splits of a table that come later or change: a new version of them, nothing extracted again, heads fitted anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.end_to_end.conftest import StoreAt
from tests.end_to_end.kinds import Photo, write
from tests.stores import objects
from trunkline import open_features
from trunkline.locations import Location

FAST = ("--cluster", "inline", "--head", "softmax", "--dataset", "photos", "--json")


class Table:
    """A CSV of photos beside them, written anew before each night."""

    def __init__(self, place: Path, photos: list[Photo]) -> None:
        write(Location.of(place), photos)
        self.file = place / "photos.csv"
        self.labels = {photo.name: photo.label for photo in photos}
        self.splits = {photo.name: photo.split for photo in photos}

    def write(self, *columns: str) -> None:
        said = {"label": self.labels, "split": self.splits}
        lines = [",".join([name, *(said[column][name] for column in columns)]) for name in self.labels]
        self.file.write_text("\n".join([",".join(["uri", *columns]), *lines, ""]))


@pytest.fixture
def table(tmp_path: Path, photos: list[Photo]) -> Table:
    return Table(tmp_path / "source", photos)


def told(store: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    index = open_features(store).index()
    ids = index["id"].to_pylist()
    return dict(zip(ids, index["label"].to_pylist(), strict=True)), dict(zip(ids, index["split"].to_pylist(), strict=True))


def features_in(store: Path) -> dict[str, tuple[str, int]]:
    """What a correction of labels or splits may not touch: manifests and features."""
    return {
        name: what
        for name, what in objects(store).items()
        if "/manifest/" in name or "/features.zarr/" in name or "/commits/" in name
    }


def test_labels_and_splits_come_later_and_are_corrected(tmp_path: Path, table: Table, cli: Cli, store_at: StoreAt):
    store = store_at(Location.of(tmp_path / "store")).path

    def night(*columns: str) -> dict[str, Any]:
        table.write(*columns)
        ended = cli("run", "--source", table.file, "--store", store, *FAST)
        assert ended.code == 0, ended.err
        return ended.json

    first = night()
    assert (first["extracted"], first["heads"]) == (70, [])
    before = features_in(store)
    assert set(told(store)[0].values()) == {None}
    hashed = told(store)[1]

    labelled = night("label")
    assert (labelled["extracted"], labelled["reused"], len(labelled["heads"])) == (0, 70, 1)
    assert told(store) == (table.labels, hashed)

    split = night("label", "split")
    assert (split["extracted"], len(split["heads"])) == (0, 1)
    assert told(store) == (table.labels, table.splits)

    corrected = next(name for name, part in table.splits.items() if part == "train")
    table.labels[corrected] = "9" if table.labels[corrected] != "9" else "8"
    assert night("label", "split")["extracted"] == 0
    assert told(store) == (table.labels, table.splits)

    table.splits[corrected] = "test"
    assert night("label", "split")["extracted"] == 0
    assert told(store) == (table.labels, table.splits)
    heads = sorted(head.parent.name for head in store.glob("heads/*/*/*/head.json"))
    assert len(heads) == 4  # labels, splits, a corrected label, a changed split: each a head of its own

    vanished = night()  # the table was exported without its columns: nobody said that labels are gone
    assert vanished["extracted"] == 0
    assert told(store) == (table.labels, table.splits)

    table.labels[corrected] = ""  # somebody said that this one is
    assert night("label", "split")["extracted"] == 0
    assert told(store)[0][corrected] is None
    assert features_in(store) == before
    versions = [len(list((store / "datasets/photos" / what).iterdir())) for what in ("labels", "splits")]
    assert versions == [3, 3]


def test_labels_none_leaves_the_labels_of_a_table_alone(tmp_path: Path, table: Table, cli: Cli, store_at: StoreAt):
    store = store_at(Location.of(tmp_path / "store")).path
    table.write("label", "split")
    assert cli("scan", "--source", table.file, "--store", store, "--dataset", "photos", "--labels", "none").code == 0
    assert not (store / "datasets/photos/labels").exists()
    assert len(list((store / "datasets/photos/splits").iterdir())) == 1
    assert cli("scan", "--store", store, "--json").json["labels_changed"]
    assert not cli("scan", "--store", store, "--labels", "none", "--json").json["labels_changed"]


@pytest.mark.parametrize("night", [1, 2])
def test_a_bound_table_whose_label_column_is_gone_is_refused(
    tmp_path: Path, table: Table, cli: Cli, store_at: StoreAt, night: int
):
    """A column that was named must be there; one that was found by its usual name need not."""
    store = store_at(Location.of(tmp_path / "store")).path
    table.write("label")
    options = ("--label-column", "label") if night == 2 else ("--label-column", "lable")
    ended = cli("scan", "--source", table.file, "--store", store, *options)
    if night == 2:
        assert ended.code == 0, ended.err
        table.write()
        ended = cli("scan", "--store", store)
    assert ended.code == 2
    assert "Name the right one with --label-column" in ended.said
