"""The check of the ranking runs and prints its tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.choose import Row, main, tau
from tests.stores import images_in


def row(score: float, test: float) -> Row:
    return Row("net", "layer", 8, score, 0.0, -score, score, score, test)


def test_tau_counts_pairs_in_the_same_order():
    rows = [row(0.1, 0.2), row(0.2, 0.3), row(0.4, 0.9), row(0.3, 0.5)]
    assert tau(rows, "probe") == pytest.approx(1.0)
    assert tau(rows, "logme") == pytest.approx(-1.0)
    assert tau([row(0.1, 0.2), row(0.2, 0.1), row(0.3, 0.3)], "probe") == pytest.approx(1 / 3)


@pytest.mark.slow
def test_it_prints_a_table_and_keeps_the_figures(tmp_path: Path, digits_folder: Path, capsys: pytest.CaptureFixture[str]):
    source = images_in(tmp_path / "digits", digits_folder, 120)
    layers = ["--layer", "block4_add", "--layer", "block10_add"]
    few = ["--a-class", "3", "--draws", "2", "--json", str(tmp_path / "found.json")]
    assert main([str(source), "--backbones", "efficientnet-lite0@32", *layers, *few]) == 0
    said = capsys.readouterr().out
    assert "30 training images, 30 of them scored, 2 draws; " in said
    assert "| efficientnet-lite0@32 | `block10_add` | 112 |" in said
    assert "| efficientnet-lite0@32, 2 cuts |" in said
    found = json.loads((tmp_path / "found.json").read_text())
    assert [each["layer"] for each in found["rows"]] == ["block4_add", "block10_add"]
    assert len(found["networks"]) == 1
