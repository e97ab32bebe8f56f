"""What `trunkline choose` says of mistakes, and how it shows what was found."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.conftest import Cli
from tests.report.test_choice import better
from trunkline.cli.choosing import SHOWN, _drawn


def shown(choice, columns: int) -> str:
    file = io.StringIO()
    Console(file=file, width=columns).print(_drawn(choice, columns), crop=False)
    return file.getvalue()


def test_a_table_that_fits_a_terminal_of_80_columns_with_names_whole():
    text = shown(better(), 80)
    table = text.split("* nothing is both")[0]
    assert all(len(line.rstrip()) <= 80 for line in table.splitlines())
    assert "efficientnet-lite0@160:gem" in table
    assert "block16_project_bn" in table
    assert "LogME" not in table
    assert "LogME, H-score and sizes: --out, --json." in " ".join(text.split())


def test_a_wide_terminal_shows_all_scores():
    text = shown(better(), 140)
    for name in ("LogME", "H-score", "size"):
        assert name in text
    assert "--json." in text  # there are more cuts than fit


def test_the_best_cuts_and_the_whole_front_are_shown_and_the_rest_is_counted():
    choice = better()
    text = shown(choice, 140)
    rows = [line for line in text.splitlines() if "±" in line and line.strip().startswith("efficient")]
    assert SHOWN <= len(rows) < len(choice.cuts)
    assert f"{len(choice.cuts) - len(rows)} cuts more" in text
    assert sum("*" in row for row in rows) > 3


def test_the_recommendation_ends_it_with_a_command_to_copy_unbroken():
    choice = better()
    assert shown(choice, 40).rstrip().endswith(choice.command)
    assert choice.sentence in " ".join(shown(choice, 60).split())


def test_notes_are_shown_as_they_are():
    choice = replace(better(), warnings=["Grey [red]images[/red]\x1b[31m"], left_out={"truncated": 2}, too_few=["zebra"])
    text = " ".join(shown(choice, 200).split())
    assert "Grey [red]images[/red]\\x1b[31m" in text
    assert "Left out of the sample: 2 truncated." in text
    assert "fewer than two readable training images each: zebra." in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--backbones", "resnet5"), "There is no backbone 'resnet5'. Did you mean resnet50"),
        (("--backbones", "a,a"), "--backbones names a twice"),
        (("--out", "choose.pdf"), "does not end in .html"),
        (("--labels", "none"), "has a label, so there is nothing to compare backbones by"),
        (("--cluster", "clouds"), "'cluster.kind' is 'clouds'"),
    ],
)
def test_mistakes_are_one_message(cli: Cli, digits_folder: Path, words: tuple[str, ...], said: str):
    ended = cli("choose", "--source", digits_folder, *words)
    assert ended.code == 2
    assert said in ended.said
    assert "Traceback" not in ended.err


def test_without_a_source(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ended = cli("choose")
    assert ended.code == 2
    assert "Which images? Give --source DIR" in ended.said
