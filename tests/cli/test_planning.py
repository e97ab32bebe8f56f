"""What `trunkline plan` prints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.stores import empty_store, images_in, objects

INLINE = ("--cluster", "inline")


@pytest.fixture
def digits(tmp_path: Path, digits_folder: Path) -> Path:
    return images_in(tmp_path / "digits", digits_folder, 70)


def test_a_table_for_people_and_json_for_machines(cli: Cli, tmp_path: Path, digits: Path, compiled_lite0: Path):
    store = empty_store(tmp_path / "store", compiled_lite0)
    (digits / "0" / "empty.png").write_bytes(b"")
    before = objects(store)
    ended = cli("plan", "--source", digits, "--store", store, *INLINE, "--json", "--sample", 71)
    assert ended.code == 0, ended.err
    assert objects(store) == before
    assert len(ended.out.splitlines()) == 1
    said = ended.json
    assert said["plan"].startswith("71 images to do: about ")
    assert said["plan"] in ended.said
    assert (said["images"]["new"], said["images"]["to_do"], said["output"]["rows"]) == (71, 71, 71)
    assert (said["sampled"], said["bad"]) == (71, {"empty": 1})
    assert said["time"]["images_per_second"] > 0
    assert said["time"]["bottleneck"] in ("read", "decode", "forward", "write")
    assert said["memory"]["worker"] > 0
    for word in (
        "71 new",
        "before compression",
        "shards of up to 64 rows",
        "1 of 71 in the sample (1 empty)",
        "starting workers",
    ):
        assert word in ended.said.replace("│ │ │ ", "")
    assert "Fitting the filter and the heads comes on top." in ended.said


def test_nothing_to_do(cli: Cli, finished_store: Path):
    ended = cli("plan", "--store", finished_store, *INLINE)
    assert ended.code == 0, ended.err
    assert "Nothing to do: all 160 images are extracted." in ended.out
    assert "160 unchanged" in ended.out


def test_rows_that_wait(cli: Cli, finished_store: Path, tmp_path: Path):
    store = tmp_path / "store"
    shutil.copytree(finished_store, store)
    for record in store.glob("features/*/*/commits/*"):
        record.unlink()
    ended = cli("plan", "--store", store, *INLINE)
    assert ended.code == 0, ended.err
    assert "of these 160 not extracted yet" in " ".join(ended.out.split()).replace("│ │ │ ", "")


def test_mistakes_are_one_message(cli: Cli, tmp_path: Path, digits: Path):
    ended = cli("plan", "--source", digits, "--store", tmp_path / "store", "--backbone", "resnet5", *INLINE)
    assert ended.code == 2
    assert "There is no backbone 'resnet5'" in ended.said
    ended = cli("plan", "--source", tmp_path / "nowhere", "--store", tmp_path / "store", *INLINE)
    assert ended.code == 2
    assert "does not exist" in ended.said
    assert not (tmp_path / "store").exists()
