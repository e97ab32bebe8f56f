"""`trunkline compare`: its table, its JSON, its page, and how a mistake ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.comparing.runs import classes, said
from trunkline.locations import Location
from trunkline.store.feature_store import FeatureStore


@pytest.fixture
def store(tmp_path: Path) -> Path:
    FeatureStore.create(Location.of(tmp_path / "store"))
    runs = {
        "one": said("one"),
        "two": said("two", [{"kind": "softmax"} | classes(0.99)], spec={"seed": 3, "backbone": "[red]x[/red]\x1b[31m"}),
    }
    for run, content in runs.items():
        (tmp_path / "store/runs" / run).mkdir(parents=True)
        (tmp_path / "store/runs" / run / "metrics.json").write_text(json.dumps(content))
    return tmp_path / "store"


def test_the_table_shows_what_differs(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    ended = cli("compare", "one", "two", "--store", store)
    assert ended.code == 0, ended.err
    text = " ".join(ended.out.split())
    for words in ("What differs in the spec", "seed", "features kept", "996", "softmax", "better", "apart", "forest"):
        assert words in text
    assert "[red]x[/red]" in text
    assert "\x1b[31m" not in ended.out


def test_json_and_page(cli: Cli, store: Path, tmp_path: Path):
    ended = cli("compare", store / "runs/one", store / "runs/two/metrics.json", "--json", "--html", tmp_path / "page.html")
    assert ended.code == 0, ended.err
    found = ended.json
    assert (found["first"], found["second"], found["html"]) == ("one", "two", str(tmp_path / "page.html"))
    softmax = found["heads"][0]["figures"]["macro_f1"]
    assert (softmax["better"], softmax["apart"]) == (True, True)
    assert {"name": "seed", "first": "0", "second": "3"} in found["spec"]
    assert "<title>one and two – trunkline comparison</title>" in (tmp_path / "page.html").read_text()


def test_equal_runs(cli: Cli, store: Path):
    ended = cli("compare", "one", "one", "--store", store)
    assert "Note: Both are the same run." in ended.out
    assert "The specs are equal." in ended.out


def test_a_mistake_is_one_message(cli: Cli, store: Path):
    ended = cli("compare", "one", "tow", "--store", store)
    assert ended.code == 2
    assert "There is no run 'tow'" in ended.said
    assert "Did you mean" in ended.said
    assert "Traceback" not in ended.err
