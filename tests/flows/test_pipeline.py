"""The flow against a real Prefect server and a real Dask cluster: states, names, artifacts, and what a second run does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from trunkline.locations import Location
from trunkline.store.feature_store import FeatureStore

RUN = """
import json, sys
from trunkline.specs import RunSpec
if __name__ == "__main__":
    from flows.pipeline import pipeline
    print("SUMMARY", json.dumps(pipeline(RunSpec.model_validate_json(sys.argv[1])).summary()))
"""


def run_flow(folder: Path, environment: dict[str, str], **spec: Any) -> tuple[dict[str, Any] | None, str]:
    """The flow's summary, None where it failed, and all it printed."""
    script = folder / "run_flow.py"
    script.write_text(RUN)
    project = Path(__file__).parents[2]
    paths = os.pathsep.join(map(str, (project / "src", project)))
    command = [sys.executable, str(script), json.dumps(spec)]
    done = subprocess.run(command, env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=240)
    lines = [line.removeprefix("SUMMARY ") for line in done.stdout.splitlines() if line.startswith("SUMMARY ")]
    return (json.loads(lines[0]) if lines else None), done.stdout + done.stderr


def ask(environment: dict[str, str], what: str, **body: Any) -> list[dict[str, Any]]:
    """What the server's API lists."""
    request = urllib.request.Request(
        f"{environment['PREFECT_API_URL']}/{what}/filter", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        listed: list[dict[str, Any]] = json.loads(answer.read())
    return listed


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str], digits_folder: Path, compiled_lite0: Path
) -> tuple[Path, dict[str, Any], dict[str, Any], str]:
    """Two runs over one store, with a broken file in the source: the store, both summaries, what the second printed."""
    folder = tmp_path_factory.mktemp("flow")
    source, store = folder / "digits", folder / "store"
    shutil.copytree(digits_folder, source)
    (source / "3" / "broken.png").write_bytes(b"")
    FeatureStore.create(Location.of(store))
    shutil.copytree(compiled_lite0 / "backbones", store / "backbones")
    spec = {"source": str(source), "store": str(store), "cluster": {"kind": "local", "workers": 2}}
    first, printed = run_flow(folder, prefect_environment, **spec)
    assert first, printed
    second, printed = run_flow(folder, prefect_environment, **spec)
    assert second, printed
    return store, first, second, printed


def test_the_flow_does_the_main_job(finished: tuple[Path, dict[str, Any], dict[str, Any], str]) -> None:
    _, first, _, _ = finished
    assert (first["rows"], first["ok"], first["quarantined"], first["pending"]) == (301, 300, 1, 0)
    assert first["reasons"] == {"empty": 1}
    assert first["extracted"] == 301
    assert [head["kind"] for head in first["heads"]] == ["softmax", "forest"]
    assert first["heads"][0]["macro_f1"] > 0.7
    assert Path(first["report"]).read_text().startswith("<!")


def test_a_second_run_extracts_nothing_and_says_so(finished: tuple[Path, dict[str, Any], dict[str, Any], str]) -> None:
    _, first, second, printed = finished
    assert (second["extracted"], second["reused"]) == (0, 301)
    assert "nothing to extract, all is committed" in printed
    assert second["heads"] == first["heads"]
    assert second["report"] == first["report"]


def test_runs_carry_names_that_people_understand(
    finished: tuple[Path, dict[str, Any], dict[str, Any], str], prefect_environment: dict[str, str]
) -> None:
    store, *_ = finished
    flow_runs = [run for run in ask(prefect_environment, "flow_runs") if run["parameters"]["spec"]["store"] == str(store)]
    assert [run["state_type"] for run in flow_runs] == ["COMPLETED", "COMPLETED"]
    names = {run["name"].removeprefix("digits through efficientnet-lite0: ") for run in flow_runs}
    assert names == {"301 extracted of 301 images", "nothing new, 301 images"}
    names = {run["name"] for run in ask(prefect_environment, "task_runs", flow_runs={"id": {"any_": [flow_runs[0]["id"]]}})}
    source = store.parent / "digits"
    assert names == {f"scan {source}", "extract efficientnet-lite0", "select features", "fit heads", "write the report"}


def test_stages_without_work_are_called_cached(
    finished: tuple[Path, dict[str, Any], dict[str, Any], str], prefect_environment: dict[str, str]
) -> None:
    store, *_ = finished
    runs = [run for run in ask(prefect_environment, "flow_runs") if run["parameters"]["spec"]["store"] == str(store)]
    states = {}
    for run in runs:
        for each in ask(prefect_environment, "task_runs", flow_runs={"id": {"any_": [run["id"]]}}):
            states.setdefault(run["name"].rsplit(" ", 1)[0], set()).add((each["state_type"], each["state_name"]))
    assert sorted(states.values(), key=str) == [{("COMPLETED", "Cached")}, {("COMPLETED", "Completed")}]


def test_artifacts_tell_what_was_done(
    finished: tuple[Path, dict[str, Any], dict[str, Any], str], prefect_environment: dict[str, str]
) -> None:
    store, first, _, _ = finished
    runs = {run["id"] for run in ask(prefect_environment, "flow_runs") if run["parameters"]["spec"]["store"] == str(store)}
    artifacts = [artifact for artifact in ask(prefect_environment, "artifacts") if artifact["flow_run_id"] in runs]
    by_key: dict[str, list[dict[str, Any]]] = {}
    for artifact in artifacts:
        by_key.setdefault(artifact["key"], []).append(artifact)
    progress = by_key["extraction"][0]
    assert progress["type"] == "progress"
    assert progress["data"] == 100.0
    assert progress["updated"] > progress["created"], "it was made before the work was done, and moved"
    assert any("| quarantined | 1 (1 empty) |" in each["data"] for each in by_key["summary"])
    assert any(first["report"] in each["data"] for each in by_key["summary"])
    assert json.loads(by_key["heads"][0]["data"])[0]["head"] == "softmax"
    assert json.loads(by_key["quarantine"][0]["data"]) == [{"reason": "empty", "images": 1, "first images": "3/broken.png"}]
    assert {"confusion-softmax", "confusion-forest"} <= set(by_key)


def test_a_users_mistake_fails_at_once_without_retries(tmp_path: Path, prefect_environment: dict[str, str]) -> None:
    missing = tmp_path / "nowhere"
    summary, printed = run_flow(tmp_path, prefect_environment, source=str(missing), store=str(tmp_path / "store"))
    assert summary is None
    assert f"The source {missing} does not exist" in printed
    failed = [run for run in ask(prefect_environment, "task_runs") if run["name"] == f"scan {missing}"]
    assert [(run["state_type"], run["run_count"]) for run in failed] == [("FAILED", 1)]
    assert not (tmp_path / "store").exists()
