"""The folder of figures under real processes: nothing lost, nothing doubled, nothing that grows."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.telemetry import folder as figures
from trunkline.telemetry.folder import ProcessFile, Totals, absorb, collect, merged
from trunkline.telemetry.names import series

READ = series("trunkline_read_bytes_total", {"dataset": "photos"})
LEFT = series("trunkline_shards_left", {"dataset": "photos"})
ACTIVE = series("trunkline_runs_active", {"dataset": "photos"})
SUCCESS = series("trunkline_last_success_timestamp_seconds", {"dataset": "photos"})
DIED = series("trunkline_runs_total", {"dataset": "photos", "outcome": "died"})

RUN = """
import sys
from trunkline import telemetry
telemetry.add("trunkline_read_bytes_total", float(sys.argv[1]), dataset="photos")
telemetry.add("trunkline_shards_left", 5, dataset="photos")
telemetry.add("trunkline_runs_active", 1, dataset="photos")
telemetry.raise_to("trunkline_last_success_timestamp_seconds", float(sys.argv[1]), dataset="photos")
print("counted", flush=True)
sys.stdin.readline()
telemetry.add("trunkline_runs_active", -1, dataset="photos")
"""


def start(folder: Path, amount: int) -> subprocess.Popen[str]:
    """A process that has counted, and waits."""
    environment = {**os.environ, "TRUNKLINE_METRICS_DIR": str(folder)}
    command = [sys.executable, "-c", RUN, str(amount)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


def end(process: subprocess.Popen[str], how: signal.Signals | None = None) -> None:
    if how is not None:
        process.send_signal(how)
    process.communicate("\n", timeout=60)


@pytest.fixture
def process_file(tmp_path: Path) -> Iterator[ProcessFile]:
    file = ProcessFile(tmp_path)
    yield file
    file.close()


def count(file: ProcessFile, key: str, amount: float) -> None:
    file.write(key, lambda before: before + amount)


def test_live_and_ended_and_killed_processes_count_and_gauges_live_with_their_process(tmp_path: Path) -> None:
    first, second, third = (start(tmp_path, amount) for amount in (100, 20, 3))
    assert collect(tmp_path) == {READ: 123.0, LEFT: 15.0, ACTIVE: 3.0, SUCCESS: 100.0}
    end(first)
    assert collect(tmp_path) == {READ: 123.0, LEFT: 10.0, ACTIVE: 2.0, SUCCESS: 100.0}
    end(second, signal.SIGKILL)
    assert collect(tmp_path) == {READ: 123.0, LEFT: 5.0, ACTIVE: 1.0, SUCCESS: 100.0, DIED: 1.0}
    end(third)
    assert collect(tmp_path) == {READ: 123.0, SUCCESS: 100.0, DIED: 1.0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["totals.json", "totals.lock"]


def test_many_ended_processes_leave_nothing_that_grows(tmp_path: Path) -> None:
    sizes = []
    for number in range(1, 31):
        file = ProcessFile(tmp_path)
        count(file, READ, 1000.0)
        count(file, LEFT, 3)
        file.close()
        assert collect(tmp_path)[READ] == 1000.0 * number
        assert len(list(tmp_path.iterdir())) == 2
        sizes.append((tmp_path / "totals.json").stat().st_size)
    assert sizes[-1] - sizes[0] == len("30000.0") - len("1000.0")


def test_new_runs_tidy_up_where_no_endpoint_does(tmp_path: Path) -> None:
    for _ in range(5):
        absorb(tmp_path)
        file = ProcessFile(tmp_path)
        count(file, READ, 1.0)
        file.close()
    assert len(list(tmp_path.glob("*.db"))) == 1
    assert collect(tmp_path) == {READ: 5.0}


@pytest.mark.parametrize("step", ["fsync", "replace", "unlink"])
def test_who_dies_while_absorbing_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    for amount in (100.0, 20.0, 3.0):
        file = ProcessFile(tmp_path)
        count(file, READ, amount)
        file.close()

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os if step == "fsync" else Path, step, die)
        with pytest.raises(Killed):
            collect(tmp_path)
    assert len(list(tmp_path.glob("*.db"))) == 3
    later = ProcessFile(tmp_path)
    count(later, READ, 4000.0)
    assert collect(tmp_path) == {READ: 4123.0}
    assert collect(tmp_path) == {READ: 4123.0}
    later.close()
    assert collect(tmp_path) == {READ: 4123.0}
    assert list(tmp_path.glob("*.db")) == []


def test_a_full_disk_keeps_the_files_and_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ProcessFile(tmp_path)
    count(file, READ, 7.0)
    file.close()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert [collect(tmp_path) for _ in range(3)] == [{READ: 7.0}] * 3
    assert collect(tmp_path) == {READ: 7.0}


def test_a_file_that_is_absorbed_before_it_is_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, absorbed = figures.fcntl.flock, []

    def slow(file: Any, how: int) -> None:
        if not absorbed and getattr(file, "name", "").endswith(".db") and "x" in getattr(file, "mode", ""):
            absorbed.append(file.name)
            Path(file.name).unlink()
        lock(file, how)

    monkeypatch.setattr(figures.fcntl, "flock", slow)
    file = ProcessFile(tmp_path)
    count(file, READ, 7.0)
    assert absorbed
    assert collect(tmp_path) == {READ: 7.0}
    file.close()


def test_damage_costs_what_is_damaged_alone(
    tmp_path: Path, process_file: ProcessFile, caplog: pytest.LogCaptureFixture
) -> None:
    count(process_file, READ, 7.0)
    (tmp_path / "1-aa.db").write_bytes(struct.pack("4i", 64, 0, 1000, 0) + bytes(84))
    (tmp_path / "2-bb.db").write_bytes(b"\x01")
    (tmp_path / "3-cc.db").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "totals.json").write_text("{")
    assert collect(tmp_path) == {READ: 7.0}
    said = [record.getMessage() for record in caplog.records]
    assert any("totals.json is damaged and set aside" in words for words in said)
    assert sum("is damaged, what it counted is lost" in words for words in said) == 2
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "totals.json.damaged").read_text() == "{"


def test_series_of_other_versions_are_left_out(tmp_path: Path, process_file: ProcessFile) -> None:
    count(process_file, READ, 7.0)
    count(process_file, json.dumps(["trunkline_gone_total", {"dataset": "photos"}]), 1.0)
    count(process_file, "no JSON", 1.0)
    Totals({json.dumps(["trunkline_read_bytes_total", {"other": "label"}]): 5.0, READ: 1.0}).write(tmp_path)
    assert collect(tmp_path) == {READ: 8.0}


def test_a_folder_that_stays_locked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "LOCK_SECONDS", 0.1)
    with figures._locked(tmp_path, 0.0):
        with pytest.raises(TimeoutError, match=r"totals\.lock is held by another process for more than 0 s"):
            collect(tmp_path)
        absorb(tmp_path)  # somebody else is about it


def test_kinds_of_figures_are_merged_as_they_mean() -> None:
    assert merged([{READ: 1.0, SUCCESS: 5.0, LEFT: 2.0}, {READ: 2.0, SUCCESS: 4.0, LEFT: 3.0}]) == {
        READ: 3.0,
        SUCCESS: 5.0,
        LEFT: 5.0,
    }
