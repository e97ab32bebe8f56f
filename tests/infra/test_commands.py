"""stack.sh without a stack: what it refuses, in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.stack import postgres
from infra.stack.__main__ import main
from infra.stack.folder import Folder
from infra.stack.stack import new_settings
from tests.stack import Stack


def refused(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("STACK", str(folder))
    monkeypatch.setattr(sys, "argv", ["stack.sh", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_script_finds_its_python_and_passes_the_exit_status(tmp_path: Path) -> None:
    done = Stack(tmp_path / "none").command("status")
    assert done.returncode == 2
    assert f"There is no stack in {tmp_path}/none." in done.stderr
    assert subprocess.run(["ls", str(tmp_path)], capture_output=True, text=True).stdout == "home\n"


def test_ending_what_does_not_run_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(["down"], tmp_path / "none", monkeypatch) == 0
    assert capsys.readouterr().out == f"No stack runs in {tmp_path}/none.\n"


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_a_number_of_workers_is_a_number(
    workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKERS", workers)
    assert refused(["up"], tmp_path / "none", monkeypatch) == 2
    assert f"WORKERS is '{workers}': it is the number of Dask workers, 1 or more." in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_without_postgresql_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused(["up"], tmp_path / "none", monkeypatch) == 2
    assert "apt-get install postgresql" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_unknown_service_is_told_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path / "stack")
    monkeypatch.setattr(postgres, "user", lambda: postgres.User(None, None))
    folder.create(new_settings(folder, workers=2, usual_ports=False))
    assert refused(["restart", "dask"], folder.path, monkeypatch) == 2
    said = capsys.readouterr().err
    assert "The stack has no service 'dask'. It has: bucket, dask-scheduler, dask-worker, dask-worker-1, dask-worker-2," in said
