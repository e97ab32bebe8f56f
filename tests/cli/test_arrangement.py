"""The order of commands in the help."""

from __future__ import annotations

import pytest
import typer

from tests.cli.conftest import Cli
from trunkline.cli.app import app
from trunkline.cli.arrangement import PANELS, arrange


def test_every_command_has_its_place_in_the_help(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = cli("--help").out
    names = [name for names in PANELS.values() for name in names]
    places = [said.index(f"│ {name} ") for name in names]
    assert places == sorted(places)
    assert all(panel in said for panel in PANELS)
    assert len(names) == len(app.registered_commands)
    assert max(map(len, said.splitlines())) <= 80


def test_a_command_without_a_place_is_a_mistake():
    other = typer.Typer()
    other.command("explode")(lambda: None)
    with pytest.raises(KeyError, match="explode"):
        arrange(other)
