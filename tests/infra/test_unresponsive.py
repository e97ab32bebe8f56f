"""Silent runs: what is asked for fits what runs send, and what may be away."""

from __future__ import annotations

from datetime import timedelta

from infra.unresponsive import HEARTBEAT_SECONDS, SILENT_SECONDS, automation
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
