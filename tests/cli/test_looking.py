"""`trunkline look` and `trunkline similar`: tables, JSON, and how a mistake ends."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.backbones import onnx_nets
from tests.cli.conftest import Cli


def test_similar_as_a_table_and_as_json(cli: Cli, finished_store: Path, tmp_path: Path):
    out = tmp_path / "s.html"
    ended = cli(
        "similar", "row:3", "--store", finished_store, "--k", 12, "--split", "train", "--split", "test", "--out", out, "--json"
    )
    assert ended.code == 0, ended.err
    found = ended.json
    assert (found["row"], found["rows"], len(found["nearest"]), found["out"]) == (3, 159, 12, str(out))
    assert set(found["nearest"][0]) == {"row", "id", "label", "distance", "unreadable"}
    again = cli("similar", "row:3", "--store", finished_store, "--k", 12, "--mask", "--out", out, "--overwrite")
    said = " ".join(again.out.split())
    assert "The nearest 10" in said
    assert "159 rows, cosine, avg_pool" in said


@pytest.mark.slow
def test_look_as_json_and_as_a_table(cli: Cli, digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    onnx.save(onnx_nets.convolutional(), tmp_path / "net.onnx")
    (tmp_path / "net.yaml").write_text("{size: 16, normalisation: torch}")
    image = next(digits_folder.glob("*/*.png"))
    words = ("look", image, "--backbone", tmp_path / "net.onnx", "--layer", "stem.relu.0", "--out", tmp_path / "look.png")
    ended = cli(*words, "--json")
    assert ended.code == 0, ended.err
    assert (ended.json["backbone"], ended.json["layers"]) == ("net.onnx", {"stem.relu.0": [8, 8, 6]})
    assert cli(*words).code == 2
    said = " ".join(cli(*words, "--overwrite").out.split())
    assert "stem.relu.0 │ 8 x 8 x 6" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["look", "nothing.png"], "There is no image at"),
        (["look", "row:3"], "row:3 is a row of a dataset. Say of which: --store STORE."),
        (["look", "x.jpg", "--out", "x.jpg"], "x.jpg is no .png file"),
        (["similar", "row:1", "--store", "nowhere"], "nowhere"),
    ],
    ids=str,
)
def test_mistakes_end_with_words(cli: Cli, words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ended = cli(*words)
    assert ended.code == 2
    assert said in ended.said
    assert list(tmp_path.iterdir()) == []
