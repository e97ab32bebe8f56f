"""The stack's folder: made once, private where it holds secrets, removed without anything that is not the stack's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from infra.stack.errors import MissingPart
from infra.stack.folder import Folder, Settings
from infra.stack.processes import Started

SETTINGS = Settings("id", {"one:80": 8080}, {"POSTGRES_PASSWORD": "secret"}, {})


def made(path: Path) -> Folder:
    folder = Folder(path)
    folder.create(SETTINGS)
    return folder


def test_settings_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    folder = made(tmp_path / "stack")
    assert folder.settings() == SETTINGS
    folder.write_environment({"A": "it's $HOME"})
    assert [file.stat().st_mode & 0o777 for file in (folder.path / "settings.json", folder.environment)] == [0o600, 0o600]
    said = subprocess.run(["sh", "-c", f". '{folder.environment}'; echo \"$A\""], capture_output=True, text=True)
    assert said.stdout == "it's $HOME\n"


def test_processes_are_remembered(tmp_path: Path) -> None:
    folder = made(tmp_path / "stack")
    assert folder.started("one") is None
    folder.remember("one", Started(7, "boot:1"))
    assert folder.started("one") == Started(7, "boot:1")
    folder.forget("one")
    folder.forget("one")
    assert folder.started("one") is None


def test_other_files_are_neither_taken_nor_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(
        MissingPart, match=r"holds other files, and a stack needs a folder of its own\. Name another one: STACK=folder"
    ):
        Folder(tmp_path).create(SETTINGS)
    folder = made(tmp_path / "stack")
    (folder.path / "notes").touch()
    assert folder.remove() == ["notes"]
    assert [entry.name for entry in folder.path.iterdir()] == ["notes"]


def test_nothing_is_left_of_a_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "database"
    elsewhere.mkdir()
    folder = Folder(tmp_path / "stack")
    folder.create(Settings("id", {}, {}, {"postgres": str(elsewhere)}))
    assert folder.remove() == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_stack_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        MissingPart, match=r"There is no stack in .*/none\. Start one with make stack, or name its folder: STACK=folder"
    ):
        Folder(tmp_path / "none").settings()


def test_a_stack_of_another_version_is_left_alone(tmp_path: Path) -> None:
    folder = made(tmp_path / "stack")
    (folder.path / "settings.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(MissingPart, match=r"made by another version of trunkline\. End it with that version's make stack-down"):
        folder.settings()


def test_one_command_at_a_time_and_no_folder_for_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "stack")
    with folder.locked():
        second = subprocess.run(["flock", "--nonblock", str(folder.path / "lock"), "true"])
        assert second.returncode == 1
    assert not folder.path.exists()
