"""The benchmark runs and says what it should; never how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_keras_and_ours_on_a_few_images(tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks", "--count", "32", "--repeats", "1", "--networks", "mobilenet-v2"]
    asked = ["--only", "keras,ours-f32", "--json", str(tmp_path / "bench.json"), "--work", str(tmp_path)]
    done = subprocess.run([*command, *asked], cwd=ROOT, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((tmp_path / "bench.json").read_text())
    assert set(said) == {"machine", "settings", "images", "skipped", "summary", "runs"}
    assert {"processor", "cores", "memory_gib", "versions", "date"} <= set(said["machine"])
    assert said["images"]["files"] == 32
    assert [run["path"] for run in said["runs"]] == ["keras", "ours-f32"]
    for run in said["runs"]:
        assert run["timing"]["images"] == 32
        assert 0 < run["timing"]["steady_seconds"] <= run["timing"]["whole_seconds"]
        assert run["largest_process_mib"] > 0
        assert run["peak_mib"] > 0
    (ratio,) = said["summary"]["mobilenet-v2"]["ratios"]
    assert ratio["steady"]["median"] > 0
    assert "ours f32 ÷ Keras" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]  # nothing else is left behind


def test_unknown_names_and_empty_folders_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--networks", "resnet51"])
    assert ended.value.code == 2
    assert "'resnet51' is none of: mobilenet-v2, resnet50" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="There are no JPEGs"):
        main(["--images", str(tmp_path), "--only", "keras"])
