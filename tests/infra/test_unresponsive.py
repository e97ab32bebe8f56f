"""Silent runs: what is asked for fits what runs send, and what may be away."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from infra.unresponsive import HEARTBEAT_SECONDS, SILENT_SECONDS, automation
from tests.flows.conftest import prefect_environment  # noqa: F401
from tests.infra.files import built, compose


def test_runs_send_heartbeats_as_often_as_the_automation_counts_on() -> None:
    worker = compose()["services"]["prefect-worker"]["environment"]
    settings = next(each for each in built("base") if each["kind"] == "ConfigMap")["data"]
    assert worker["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(HEARTBEAT_SECONDS)
    assert settings["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(HEARTBEAT_SECONDS)


def test_a_server_may_be_away_for_as_long_as_a_runs_client_asks_again() -> None:
    retries = int(compose()["services"]["prefect-worker"]["environment"]["PREFECT_CLIENT_MAX_RETRIES"])
    assert sum(2**number for number in range(1, retries + 1)) < SILENT_SECONDS


def test_only_our_runs_become_crashed_and_only_in_silence() -> None:
    made = automation(120)
    assert made.trigger.within == timedelta(seconds=120)
    assert made.trigger.after == {"prefect.flow-run.heartbeat", "prefect.flow-run.Pending"}, (
        "not Running: others send no heartbeat"
    )
    assert made.trigger.match_related.root == {"prefect.resource.id": "prefect.tag.trunkline", "prefect.resource.role": "tag"}
    (action,) = made.actions
    assert action.state == "CRASHED"
    assert action.message.startswith("Nothing was heard of this run's process for 120 s")


CUT_OFF = """
from prefect import flow, runtime, task
from prefect.client.orchestration import get_client
from prefect.states import Crashed

@task
def work(number): return number

@flow
def cut_off():
    first = work(1)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(runtime.flow_run.id, Crashed(message="Nothing was heard."))
        assert client.read_flow_run(runtime.flow_run.id).state.name == "Crashed"
    return first + work(2)

if __name__ == "__main__":
    state = cut_off(return_state=True)
    with get_client(sync_client=True) as client:
        print("SAID", client.read_flow_run(state.state_details.flow_run_id).state.name)
"""


@pytest.mark.slow
def test_a_run_that_was_only_cut_off_goes_on_and_its_own_end_replaces_crashed(
    tmp_path: Path,
    prefect_environment: dict[str, str],  # noqa: F811
) -> None:
    script = tmp_path / "cut_off.py"
    script.write_text(CUT_OFF)
    ended = subprocess.run(
        [sys.executable, script], env=prefect_environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "SAID Completed" in ended.stdout, ended.stdout + ended.stderr
