"""What data engineers get wrong, from the command line: one message in words, the exit code, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_bad_input import refused
from tests.end_to_end.kinds import Photo, tar_of, write
from tests.stores import copy_of, empty_store, feature_set_in, objects
from trunkline import open_features
from trunkline.errors import DataError
from trunkline.locations import Location
from trunkline.store import lease as leases
from trunkline.store.lease import hold


@pytest.fixture
def table(tmp_path: Path, photos: list[Photo]) -> Callable[[str | bytes], Path]:
    """Writes a table beside the photos."""
    write(Location.of(tmp_path / "source"), photos)

    def make(content: str | bytes, name: str = "photos.csv") -> Path:
        place = tmp_path / "source" / name
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        return place

    return make


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("id,uri\na,0/0000.png\nb,0/0010.png\na,0/0020.png\n", ["--id-column", "id"], "lists the id 'a' twice"),
        ("uri\n0/0000.png\n0/0000.png\n", [], "lists the id '0/0000.png' twice"),
        ("path\n0/0000.png\n", [], "has no column 'uri' for the uri. It has: path. Name the right one with --uri-column"),
        ("uri\n0/0000.png\n", ["--label-column", "species"], "has no column 'species' for the label"),
        ("uri\n0/0000.png\ns3://bucket/0.png\n", [], "lies on s3:// and row 1 of"),
        ("uri\n", [], "holds no rows, each of which would be an image, so there is nothing to extract"),
        ("", [], "is broken: Empty CSV file"),
        ("uri\n../../etc/passwd\n", [], "would leave"),
        ("uri,label\n0/0000.png,caf\xe9\n".encode("latin-1"), [], "invalid UTF8 data. Its images would be lost; correct it"),
        ("uri\n0/0000.png\n,\n", [], "is broken: CSV parse error"),
    ],
)
def test_a_table_that_cannot_be_used(
    cli: Cli, table: Callable[..., Path], tmp_path: Path, content: str | bytes, options: list[str], words: str
):
    ended = cli("scan", "--source", table(content), "--store", tmp_path / "new", *options)
    refused(ended, 2, words)
    assert not (tmp_path / "new").exists()


def test_a_table_that_is_broken_one_night_changes_nothing(
    cli: Cli, table: Callable[..., Path], photos: list[Photo], tmp_path: Path
):
    lines = [f"{photo.name},{photo.label}" for photo in photos]
    place = table("\n".join(["uri,label", *lines, ""]))
    assert cli("scan", "--source", place, "--store", tmp_path / "new").code == 0
    before = objects(tmp_path / "new")
    for broken, words in (
        ("\n".join(["uri,label", *lines[:60], lines[60][:3], ""]), "is broken"),  # cut in the middle
        ("\n".join(["uri,label", *lines[:20], ""]), "50 of 70 images are gone"),
        ("uri,label\n", "holds no rows"),
        ("\n".join(["uri,label", *lines, lines[0], ""]), "twice"),
    ):
        table(broken)
        refused(cli("scan", "--store", tmp_path / "new"), 2, words)
        assert objects(tmp_path / "new") == before


def test_images_that_are_away_behind_a_whole_table(cli: Cli, table: Callable[..., Path], photos: list[Photo], tmp_path: Path):
    """As behind a lost mount: the table lists them all, and not one of them is there."""
    place = table("\n".join(["id,uri", *(f"{number},{photo.name}" for number, photo in enumerate(photos)), ""]))
    options = ("--source", place, "--id-column", "id", "--store", tmp_path / "new")
    assert cli("scan", *options).code == 0
    before = objects(tmp_path / "new")
    for folder in [each for each in place.parent.iterdir() if each.is_dir()]:
        folder.rename(tmp_path / f"away-{folder.name}")
    refused(cli("scan", *options), 2, "70 of 70 images are gone from", "is a disk or bucket not mounted? Nothing was marked")
    assert objects(tmp_path / "new") == before
    assert cli("scan", *options, "--max-removed", 1, "--json").json["changed"] == 70


def test_a_moved_image_is_read_where_it_lies_now(cli: Cli, table: Callable[..., Path], photos: list[Photo], tmp_path: Path):
    """A copy that keeps its time has the version it had; its row leads to where the table says that it lies."""

    def said(folder: str) -> str:
        return "\n".join(["id,uri", *(f"{number},{folder}{photo.name}" for number, photo in enumerate(photos)), ""])

    place = table(said(""))
    options = ("--source", place, "--id-column", "id", "--store", tmp_path / "new", "--dataset", "photos", "--json")
    assert cli("scan", *options).code == 0
    for folder in [each for each in place.parent.iterdir() if each.is_dir()]:
        (place.parent / "moved").mkdir(exist_ok=True)
        folder.rename(place.parent / "moved" / folder.name)
    table(said("moved/"))
    found = cli("scan", *options).json
    assert (found["changed"], found["unchanged"], found["removed"]) == (70, 0, 0)


def test_a_tar_that_is_cut_in_the_middle(cli: Cli, photos: list[Photo], tmp_path: Path):
    whole = tar_of(photos)
    (tmp_path / "tars").mkdir()
    place = tmp_path / "tars/0.tar"
    place.write_bytes(whole)
    assert cli("scan", "--source", tmp_path / "tars", "--store", tmp_path / "new").code == 0
    before = objects(tmp_path / "new")
    place.write_bytes(whole[: len(whole) // 2 + 7])
    refused(cli("scan", "--store", tmp_path / "new"), 2, str(place), "The images behind it would be lost; make the tar anew")
    assert objects(tmp_path / "new") == before


def test_a_source_of_another_kind(cli: Cli, store: Path, tmp_path: Path, photos: list[Photo]):
    (tmp_path / "photos.tar").write_bytes(tar_of(photos))
    ended = cli("scan", "--source", tmp_path / "photos.tar", "--store", store, "--dataset", "digits")
    refused(ended, 2, "The dataset 'digits' belongs to", "(kind tar)", "Give this source a name of its own with --dataset")


@pytest.mark.parametrize(
    "command", ["status", "verify", "gc", "export", "purge", "unlock", "quarantine", "retry-quarantine", "audit"]
)
def test_a_newer_store(cli: Cli, store: Path, tmp_path: Path, command: str):
    (store / "store.json").write_text(json.dumps({"format": "trunkline", "version": 99}))
    before = objects(store)
    more = [tmp_path / "out.npy"] if command == "export" else []
    refused(cli(command, store, *more), 2, "has store format 99; this trunkline reads 1. Update trunkline")
    assert objects(store) == before


def test_a_newer_feature_set(cli: Cli, store: Path):
    place = feature_set_in(store) / "layout.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"format_version": 99}))
    before = objects(store)
    ended = cli("run", "--store", store, "--cluster", "inline")
    assert ended.code == 2, ended.err
    assert "Update trunkline" in ended.said
    assert objects(store) == before


def test_a_batch_that_is_none(store: Path):
    with pytest.raises(DataError, match="99"):
        open_features(store, batch=99)


def test_a_table_whose_images_do_not_exist(cli: Cli, table: Callable[..., Path], compiled_lite0: Path, tmp_path: Path):
    """Nothing is recorded of them, as their disk may be away; once some are there, the next run reads them."""
    store = empty_store(tmp_path / "new", compiled_lite0)
    place = table("uri\nnowhere/0.png\nnowhere/1.png\n")
    options = ("--source", place, "--store", store, "--cluster", "inline", "--json")
    refused(cli("run", *options), 1, "None of 2 images, from nowhere/0.png on, is under", "Nothing was recorded of them")
    assert cli("quarantine", store, "--json").json["quarantined"] == []
    (place.parent / "0").rename(place.parent / "nowhere")
    table("uri\nnowhere/0000.png\nnowhere/0010.png\n")
    assert cli("scan", *options, "--max-removed", 1).code == 0
    ended = cli("extract", *options)
    assert ended.code == 0, ended.err
    assert (ended.json["counts"]["ok"], ended.json["counts"]["pending"], ended.json["extracted"]) == (2, 0, 2)


def test_while_a_run_is_alive(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.1)
    (feature_set_in(store) / "commits/000000000064.parquet").unlink()
    place = feature_set_in(store) / "features.zarr/avg_pool/c/1/0"
    with hold(Location.of(feature_set_in(store) / "leases")):
        assert cli("unlock", store).code == 2
        assert cli("gc", store, "--delete", "--grace", 0).code == 0
        assert place.exists()


def test_what_lives_is_not_purged(cli: Cli, store: Path):
    before = objects(store)
    image = open_features(store).index()["id"][0].as_py()
    refused(cli("purge", store, "--id", image, "--erase"), 2, image)
    assert objects(store) == before


def test_an_export_leaves_a_file_that_is_there(cli: Cli, store: Path, tmp_path: Path):
    (tmp_path / "out.npy").write_text("precious")
    refused(cli("export", store, tmp_path / "out.npy"), 2, "--overwrite")
    assert (tmp_path / "out.npy").read_text() == "precious"


def test_a_table_in_a_bucket_that_is_not_there(cli: Cli, bucket: Location, tmp_path: Path):
    refused(cli("scan", "--source", f"{bucket}/photos.csv", "--store", tmp_path / "s"), 2, f"{bucket}/photos.csv")
    ended = cli("scan", "--source", "s3://trunkline-nosuch/photos.csv", "--store", tmp_path / "s")
    refused(ended, 2, "trunkline-nosuch/photos.csv does not exist, or cannot be read")
    refused(
        cli("scan", "--source", "s3://trunkline-nosuch/photos/", "--store", tmp_path / "s"),
        2,
        "there is no bucket trunkline-nosuch",
    )
    assert not (tmp_path / "s").exists()
