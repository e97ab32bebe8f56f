"""`trunkline predict` and `trunkline export --predictor`: JSON, tables, and how a mistake ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.made_heads import DIGEST, with_head
from tests.stores import copy_of, images_in


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    store = copy_of(finished_store, tmp_path / "store")
    with_head(store)
    return store


def test_rows_as_json_and_again_as_a_table(cli: Cli, store: Path):
    ended = cli("predict", store, "--head", DIGEST, "--split", "test", "--json")
    assert ended.code == 0, ended.err
    found = ended.json
    assert (found["head"], found["cached"], sum(found["counts"].values())) == (f"softmax-{DIGEST}", False, found["rows"])
    assert Path(found["predictions"]).exists()
    assert set(found["first"][0]) == {"row", "id", "predicted", "probability", "probabilities"}
    again = cli("predict", store, "--head", DIGEST, "--split", "test")
    said = " ".join(again.out.split())
    assert "First rows" in said
    assert f"{found['rows']}, predicted before (cached)" in said


def test_images_as_json_and_as_a_table(cli: Cli, store: Path, digits_folder: Path, tmp_path: Path):
    images = images_in(tmp_path / "new", digits_folder, 6)
    (images / "0/bad.jpg").write_text("no image")
    out = tmp_path / "answers.csv"
    ended = cli("predict", store, "--head", DIGEST, "--images", images, "--out", out, "--json")
    assert ended.code == 0, ended.err
    assert (ended.json["images"], ended.json["predicted"], ended.json["unreadable"]) == (7, 6, {"not-an-image": 1})
    assert len(out.read_text().splitlines()) == 8
    said = " ".join(cli("predict", store, "--head", DIGEST, "--images", images).out.split())
    assert "First rows" in said
    assert "1 image that could not be read" in said
    assert "1 not-an-image" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--head", "softmix"], "There is no head 'softmix'. Did you mean softmax"),
        (["--head", "softmax"], "There are 2 heads of the kind softmax"),
        (["--rows", "5"], "--rows 5 is no range of row numbers. Write it as 0:1000"),
        (["--rows", "a:b"], "--rows a:b is no range"),
        (["--out", "x.csv"], "--out is about new images: give --images too. Leave it out."),
        (["--images", "x", "--split", "test"], "--split is about committed rows, and --images names others"),
        (["--head", DIGEST, "--images", "x", "--out", "x.txt"], "What format is x.txt?"),
    ],
    ids=str,
)
def test_mistakes_end_with_words(cli: Cli, store: Path, options: list[str], words: str):
    ended = cli("predict", store, *options)
    assert ended.code == 2
    assert words in ended.said


def test_rows_of_a_range(cli: Cli, store: Path):
    ended = cli("predict", store, "--head", DIGEST, "--rows", "150:", "--json")
    assert ended.json["rows"] == 10


@pytest.mark.slow
def test_a_predictor_as_json_and_its_table(cli: Cli, store: Path, tmp_path: Path):
    place = tmp_path / "predictor"
    ended = cli("export", store, place, "--predictor", "--head", DIGEST)
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "predictor.onnx" in said
    assert "labels equal" in said
    found = json.loads((place / "predictor.json").read_text())
    assert found["head"] == f"softmax-{DIGEST}"
    again = cli("export", store, place, "--predictor", "--head", DIGEST)
    assert again.code == 2
    assert "exists already" in again.said
    replaced = cli("export", store, place, "--predictor", "--head", DIGEST, "--overwrite", "--json")
    assert replaced.json["onnx"]["labels_equal"] == found["proof"]["onnx"]["labels_equal"]


def test_options_of_features_and_predictors_are_not_mixed(cli: Cli, store: Path, tmp_path: Path):
    ended = cli("export", store, tmp_path / "p", "--predictor", "--split", "test", "--masked")
    assert (ended.code, "--split, --masked is about features, and a predictor has its own" in ended.said) == (2, True)
    ended = cli("export", store, tmp_path / "f.npy", "--head", "softmax")
    assert (ended.code, "--head is about predictors: give --predictor too" in ended.said) == (2, True)
