"""The benchmark of reading runs and says what it should; never how fast."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import reading


@pytest.mark.slow
def test_it_measures_every_way_beside_plain_zarr(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert (
        reading.main(["--rows", "200", "--dim", "8", "--rows-per-shard", "64", "--repeats", "1", "--work", str(tmp_path)]) == 0
    )
    said = capsys.readouterr().out
    assert "200 x 8 float32, 0 images quarantined" in said
    assert "200 x 8 float32, 2 images quarantined" in said
    assert said.count("plain zarr ") == said.count("open_features(URI).numpy() ") == said.count(".batches(1024) ") == 2
    assert "x  1.00 (1.00 to 1.00), of the fastest x 1.00" in said
    assert list(tmp_path.iterdir()) == []
