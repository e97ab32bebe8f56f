"""Predicting as a task: against a real Prefect server, in a flow of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.flows.conftest import prefect_environment  # noqa: F401
from tests.made_heads import DIGEST, with_head
from tests.stores import copy_of

FLOW = """
import json, sys
from dataclasses import asdict
from prefect import flow
from tasks.predict import predict_committed

@flow
def nightly(store, head):
    return [asdict(predict_committed(store, head, split="test")) for _ in range(2)]

if __name__ == "__main__":
    print("RECEIPTS", json.dumps(nightly(*sys.argv[1:])))
"""


def test_a_night_is_scored_once(finished_store: Path, tmp_path: Path, prefect_environment: dict[str, str]) -> None:  # noqa: F811
    store = copy_of(finished_store, tmp_path / "store")
    with_head(store)
    script = tmp_path / "nightly.py"
    script.write_text(FLOW)
    paths = f"{Path(__file__).parents[2]}:{Path(__file__).parents[2] / 'src'}"
    command = [sys.executable, str(script), str(store), DIGEST]
    ended = subprocess.run(
        command, env={**prefect_environment, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=240, check=False
    )
    (line,) = [each for each in ended.stdout.splitlines() if each.startswith("RECEIPTS")] or [ended.stderr[-3000:]]
    first, again = json.loads(line.removeprefix("RECEIPTS "))
    assert (first["cached"], again["cached"]) == (False, True)
    assert first["predictions"] == again["predictions"]
    assert f"rows by softmax-{DIGEST} (predicted now)" in ended.stdout + ended.stderr
    assert "(predicted before)" in ended.stdout + ended.stderr
