"""The simulation runs, counts what it should, and says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.scale.__main__ import main, table


@pytest.mark.slow
def test_a_small_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.benchmarks.scale.__main__.BOOKKEEPING_SAMPLE", 2000)
    main(["3000", "--json", str(tmp_path / "found.json"), "--folder", str(tmp_path)])
    found = json.loads((tmp_path / "found.json").read_text())["rows"]["3000"]
    assert (found["scan"]["added"], found["plan"]["unchanged"], found["plan"]["to_do"]) == (3000, 3000, 3000)
    assert (found["extract"]["ok"], found["extract"]["extracted"]) == (3000, 3000)
    assert (found["again"]["unchanged"], found["again"]["ok"], found["again"]["extracted"]) == (3000, 3000, 0)
    assert found["index"]["rows"] == 3000
    assert found["store"]["objects"] > 0
    assert "| extract | " in capsys.readouterr().out


def test_the_table_says_what_a_million_rows_more_cost():
    step = {"seconds": 2.0, "driver": 100.0, "worker": 90.0}
    later = {"seconds": 8.0, "driver": 150.0, "worker": 95.0}
    store = {"store": {"bytes": 10**6, "objects": 7}}
    lines = table(
        {1_000_000: {"scan": step, "extract": step, **store}, 3_000_000: {"scan": later, "extract": later, **store}}
    ).splitlines()
    assert lines[2] == "| scan | 2.0 s, 100 MiB | 8.0 s, 150 MiB | 3.00 |"
    assert lines[3].endswith("worker 95 MiB | 3.00 |")
    assert lines[4] == "| store | 7 objects, 1 MB | 7 objects, 1 MB | – |"
