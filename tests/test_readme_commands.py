"""The README's commands and snippet do what they say, run as they are printed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.locations import Location
from trunkline.store.feature_store import FeatureStore

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
TRUNKLINE = Path(sys.executable).with_name("trunkline")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    commands = re.findall(r"^make (\S+)", blocks("")[0], flags=re.MULTILINE)
    assert commands == ["demo", "test"]
    makefile = (PROJECT / "Makefile").read_text()
    for command in commands:
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE)


def test_every_command_of_the_table_exists() -> None:
    named = set(
        re.findall(
            r"`(?:trunkline )?([a-z][a-z-]+)(?: STORE(?: OUT)?| RUN RUN| \[NAME\])?`",
            "".join(re.findall(r"^\| `.*", README, flags=re.MULTILINE)),
        )
    )
    assert {"run", "scan", "extract", "select", "fit", "report", "status", "quarantine", "backbones", "audit", "init"} <= named
    assert {"plan", "verify", "gc", "retry-quarantine", "purge", "unlock", "export", "predict", "compare"} <= named
    listed = subprocess.run([TRUNKLINE, "--help"], capture_output=True, text=True, check=True).stdout
    for command in named:
        assert re.search(rf"\b{command}\b", listed), command


def test_your_own_images_and_reading_them(
    tmp_path: Path, digits_folder: Path, compiled_lite0: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits_folder, "photos")
    FeatureStore.create(Location.of("features"))
    shutil.copytree(compiled_lite0 / "backbones", "features/backbones")
    command = next(block.strip() for block in blocks("") if "trunkline run --source" in block)
    done = subprocess.run([TRUNKLINE, *shlex.split(command)[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names: dict[str, object] = {}
    exec(blocks("python")[0], names)
    features, labels = names["X"], names["y"]
    assert features.shape[1] == 1280  # type: ignore[attr-defined]
    assert len(features) == len(labels) > 200  # type: ignore[arg-type]
    more = blocks("python")[1].replace('"apple", "pear"', '"3", "5"').replace("batch=12", "batch=0")
    exec(more, names)
    assert set(names["y"]) == {"3", "5"}  # type: ignore[call-overload]


@pytest.mark.slow
def test_filter_and_heads(tmp_path: Path, digits_folder: Path, compiled_lite0: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits_folder, "photos")
    shutil.copytree(digits_folder / "3", "new")
    FeatureStore.create(Location.of("features"))
    shutil.copytree(compiled_lite0 / "backbones", "features/backbones")
    block = next(block for block in blocks("") if "--predictor" in block)
    for line in block.strip().splitlines():
        done = subprocess.run([TRUNKLINE, *shlex.split(line, comments=True)[1:]], capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr)
    assert len(Path("answers.csv").read_text().splitlines()) == 1 + len(list(Path("new").iterdir()))
    assert {"predictor.onnx", "predictor.keras", "prepare.py", "predictor.json"} <= {
        file.name for file in Path("predictor").iterdir()
    }


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_no_placeholder_is_left() -> None:
    assert "FIGURES" not in README
