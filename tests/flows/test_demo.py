"""`make demo`'s program, with a temporary Prefect server of its own: the first time and the second."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.demo import write_digits

PROJECT = Path(__file__).parents[2]


def demo(folder: Path, home: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"} | {"PREFECT_HOME": str(home)}
    command = [sys.executable, "-m", "flows.demo", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_demo_does_the_main_job_once(tmp_path: Path) -> None:
    first = demo(tmp_path / "demo", tmp_path / "prefect")
    assert "1,800" in first
    assert "3 (1 empty, 1 not-an-image, 1 truncated)" in first
    assert "macro-F1 softmax" in first
    assert "macro-F1 forest" in first
    second = demo(tmp_path / "demo", tmp_path / "prefect")
    assert "0: nothing is new, 1,800 from earlier runs" in second
    reports = list((tmp_path / "demo/store/runs").glob("*/report.html"))
    assert len(reports) == 1


def test_the_digits_are_written_once(tmp_path: Path) -> None:
    write_digits(tmp_path)
    names = sorted(tmp_path.rglob("*.*"))
    assert len(names) == 1800
    before = {path: path.stat().st_mtime_ns for path in names}
    write_digits(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.*"))} == before


def test_digits_that_were_interrupted_are_written_to_the_end(tmp_path: Path) -> None:
    write_digits(tmp_path)
    (tmp_path / "7/truncated.png").unlink()
    (tmp_path / "5/digit-0005.png").unlink()
    write_digits(tmp_path)
    assert len(list(tmp_path.rglob("*.*"))) == 1800
