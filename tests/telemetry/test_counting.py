"""Counting: nothing where it is not asked for, never the end of a run, and no label that grows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline import telemetry
from trunkline.telemetry import counting
from trunkline.telemetry.folder import collect
from trunkline.telemetry.names import FIGURES, series


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    counting.close()


def test_where_it_is_not_asked_for_nothing_is_imported_or_written(tmp_path: Path) -> None:
    code = (
        "import sys; from trunkline import telemetry; telemetry.add('trunkline_runs_active', 1, dataset='photos');"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)}, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_figures_of_one_process_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_METRICS_DIR", str(tmp_path / "not" / "there yet"))
    for _ in range(3):
        telemetry.add("trunkline_quarantined_total", 2, dataset="photos", reason="empty")
    for value in (5.0, 9.0, 7.0):
        telemetry.raise_to("trunkline_last_success_timestamp_seconds", value, dataset="photos")
    assert collect(tmp_path / "not" / "there yet") == {
        series("trunkline_quarantined_total", {"dataset": "photos", "reason": "empty"}): 6.0,
        series("trunkline_last_success_timestamp_seconds", {"dataset": "photos"}): 9.0,
    }


def test_a_folder_that_cannot_be_written_is_said_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRUNKLINE_METRICS_DIR", str(tmp_path / "file"))
    for _ in range(3):
        telemetry.add("trunkline_runs_active", 1, dataset="photos")
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"Nothing is counted for Prometheus: {tmp_path}/file cannot be written")
    assert counting.FOLDER in warning


def test_a_metric_that_is_none_or_other_labels_are_mistakes() -> None:
    with pytest.raises(KeyError):
        telemetry.add("trunkline_unknown_total")
    with pytest.raises(ValueError, match="trunkline_runs_total has the labels dataset, outcome, and was given dataset, run"):
        telemetry.add("trunkline_runs_total", dataset="photos", run="20261126T075523Z-7c0f")


def test_labels_are_names_and_words_of_fixed_vocabularies() -> None:
    assert {label for figure in FIGURES.values() for label in figure.labels} == {
        "dataset",
        "backbone",
        "status",
        "reason",
        "stage",
        "part",
        "outcome",
    }
