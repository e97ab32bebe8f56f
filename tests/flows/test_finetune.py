"""The flow against a real Prefect server: fine-tune, and the pipeline with the result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.finetuning.conftest import small_network  # noqa: F401
from tests.finetuning.small import QUICK
from tests.flows.test_pipeline import ask
from tests.stores import images_in

FLOW = """
import json, sys
from trunkline.specs import FinetuneSpec, RunSpec
if __name__ == "__main__":
    from flows.finetune import finetune
    spec, tune = RunSpec.model_validate_json(sys.argv[1]), FinetuneSpec.model_validate_json(sys.argv[2])
    done = finetune(spec, tune, "pipeline")
    print("SAID", json.dumps({"made": done.finetuned.summary(), "run": done.run.summary()}))
"""


@pytest.mark.slow
def test_the_flow_fine_tunes_and_runs_the_pipeline_with_the_result(
    tmp_path: Path,
    digits_folder: Path,
    small_network: Path,  # noqa: F811
    prefect_environment: dict[str, str],
) -> None:
    images_in(tmp_path / "images", digits_folder, 100)
    script = tmp_path / "run_flow.py"
    script.write_text(FLOW)
    spec = {
        "source": str(tmp_path / "images"),
        "store": str(tmp_path / "store"),
        "backbone": str(small_network),
        "dataset": "tuned",
    }
    spec |= {"cluster": {"kind": "inline"}, "heads": [{"kind": "softmax", "C": [0.1]}]}
    root = Path(__file__).parents[2]
    command = [sys.executable, str(script), json.dumps(spec), json.dumps(QUICK | {"name": "mine"})]
    environment = prefect_environment | {"PYTHONPATH": f"{root}:{root / 'src'}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    (line,) = [each for each in ended.stdout.splitlines() if each.startswith("SAID")] or [(ended.stdout + ended.stderr)[-3000:]]
    said = json.loads(line.removeprefix("SAID "))
    assert said["made"]["epochs"] == {"head": 3, "layers": 3}
    assert said["run"]["ok"] == 100
    (run,) = [
        each
        for each in ask(prefect_environment, "flow_runs")
        if each["name"] == "fine-tune " + str(small_network) + " on tuned"
    ]
    artifacts = [each for each in ask(prefect_environment, "artifacts") if each["flow_run_id"] == run["id"]]
    by_key = {each["key"]: each for each in artifacts}
    assert {"finetune-decode", "finetune-features", "finetune-head", "finetune-progress", "finetuned"} <= set(by_key)
    assert by_key["finetune-progress"]["data"] == 100.0
    assert "the last layers, epoch 3 of 3" in by_key["finetune-progress"]["description"]
    figures = {row["figure"]: row["value"] for row in json.loads(by_key["finetuned"]["data"])}
    assert figures["macro_f1"] == pytest.approx(said["made"]["metrics"]["score"])
