"""Linters find nothing in the files under infra/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.files import COMPOSE, INFRA

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "words",
    [
        [BIN / "hadolint", "--failure-threshold", "style", INFRA / "Dockerfile"],
        [BIN / "yamllint", "--strict", "--config-file", INFRA / ".yamllint", INFRA],
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE],
        ["sh", "-n", INFRA / "stack.sh"],
    ],
    ids=["hadolint", "yamllint", "compose-spec", "sh"],
)
def test_a_linter_finds_nothing(words: list[Path | str]) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text((INFRA / "Dockerfile").read_text() + "RUN apt-get install curl\n")
    assert subprocess.run([str(BIN / "hadolint"), str(bad)], capture_output=True).returncode == 1
