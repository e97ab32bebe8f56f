"""The benchmark of the filter runs and says what it should; never how fast."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import filter as benchmark


def test_it_measures_the_filter_beside_scikit_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = [
        "--rows",
        "300",
        "--dim",
        "8",
        "--rows-per-shard",
        "64",
        "--repeats",
        "1",
        "--theirs",
        "50",
        "--work",
        str(tmp_path),
    ]
    assert benchmark.main(given) == 0
    said = capsys.readouterr().out
    assert "300 x 8, 5 shards" in said
    assert said.count("select") >= 3
    assert "VarianceThreshold on 50 rows in memory" in said
    assert "of scikit-learn's time, theirs taken 4.0 times for 200 rows" in said
    assert list(tmp_path.iterdir()) == []
