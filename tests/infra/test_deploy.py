"""`make deploy`: what it makes of the environment, what it says when it cannot, and that twice changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.deploy import DeployError, deploy, prepared
from tests.flows.conftest import prefect_environment  # noqa: F401
from tests.s3 import free_port

PROJECT = Path(__file__).parents[2]
SET = {"TRUNKLINE_STORE": "s3://bucket/store", "TRUNKLINE_SOURCE": "s3://bucket/images"}


def said() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROJECT / "infra/prefect.yaml").read_text())
    return content


def by_name(content: dict[str, Any]) -> dict[str, Any]:
    return {deployment["name"]: deployment for deployment in content["deployments"]}


def test_every_deployment_is_named_as_its_flow_and_works_in_the_pool() -> None:
    for name, deployment in by_name(said()).items():
        place, function = deployment["entrypoint"].split(":")
        assert f'@flow(name="{name}"' in (PROJECT / place).read_text()
        assert function == name.replace("-", "_")
        assert deployment["work_pool"]["name"] == "trunkline"
        assert deployment["tags"] == ["trunkline"]
        assert deployment["description"].startswith("## ")


def test_with_all_settings_the_file_is_used_as_it_is() -> None:
    assert prepared(said(), SET) == said()


def test_without_a_source_nothing_runs_by_night_and_events_name_it() -> None:
    deployments = by_name(prepared(said(), {"TRUNKLINE_STORE": "s3://bucket/store"}))
    assert deployments["pipeline"]["parameters"] == {"spec": {"store": "{{ $TRUNKLINE_STORE }}"}}
    nightly = deployments["nightly"]
    assert [schedule["active"] for schedule in nightly["schedules"]] == [False]
    assert nightly["triggers"][0]["parameters"] == {
        "arrived": "{{ event.payload }}",
        "spec": {"store": "{{ $TRUNKLINE_STORE }}", "source": "{{ event.payload.source }}"},
    }
    assert [schedule["active"] for schedule in deployments["verify"]["schedules"]] == [True]


def test_without_a_store_nothing_is_verified_by_itself() -> None:
    deployments = by_name(prepared(said(), {}))
    assert deployments["verify"]["parameters"] == {}
    assert [schedule["active"] for schedule in deployments["verify"]["schedules"]] == [False]


def test_a_server_that_does_not_answer_is_asked_again_and_then_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(DeployError, match=rf"server at {url} does not answer .*asked again for 3 s\. Check that it runs"):
        deploy(3.0)
    assert capsys.readouterr().out.count(f"Waiting for the Prefect server at {url}") >= 2


def test_without_an_address_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(DeployError, match="PREFECT_API_URL is not set"):
        deploy(1.0)


@pytest.mark.parametrize("said", ["soon", "60", "inf", "-1"])
def test_a_wrong_number_of_seconds_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port()}/api")
    monkeypatch.setenv("TRUNKLINE_SILENT_SECONDS", said)
    with pytest.raises(DeployError, match=rf"TRUNKLINE_SILENT_SECONDS is '{said}'; .* 90 at least\. Unset, it is 300\."):
        deploy(1.0)


def run_deploy(environment: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.deploy"]
    return subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, **environment, **more},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def ask(environment: dict[str, str], path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{environment['PREFECT_API_URL']}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def on_the_server(environment: dict[str, str]) -> Any:
    """What stands there, without times and without the ids of what is made anew."""
    deployments = ask(environment, "/deployments/filter", {})
    automations = ask(environment, "/automations/filter", {})
    queues = ask(environment, "/work_queues/filter", {})
    blocks = ask(environment, "/block_documents/filter", {})
    return (
        sorted((each["id"], each["name"], json.dumps(each["parameters"]), len(each["schedules"])) for each in deployments),
        sorted(each["name"] for each in automations),
        sorted((each["id"], each["name"], each["priority"]) for each in queues),
        sorted((each["id"], each["name"]) for each in blocks),
    )


@pytest.mark.slow
def test_twice_changes_nothing(prefect_environment: dict[str, str]) -> None:  # noqa: F811
    secret = "http://127.0.0.1:9/hook-with-a-secret-token"
    settings = {**SET, "TRUNKLINE_ALERT_URL": secret}
    first = run_deploy(prefect_environment, **settings)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Work pool trunkline: nightly 1, default 5, backfill 10" in first.stdout
    assert "Deployment nightly: queue nightly, cron 0 2 * * * UTC" in first.stdout
    assert "Silent runs: Crashed after 300 s without a heartbeat" in first.stdout
    before = on_the_server(prefect_environment)
    assert "trunkline-unresponsive" in before[1]
    assert [(name, priority) for _, name, priority in before[2]].count(("backfill", 10)) == 1
    again = run_deploy(prefect_environment, **settings)
    assert again.returncode == 0, again.stdout + again.stderr
    assert on_the_server(prefect_environment) == before
    assert "secret-token" not in first.stdout + first.stderr + json.dumps(
        ask(prefect_environment, "/block_documents/filter", {})
    )
    without = run_deploy(prefect_environment, **SET, TRUNKLINE_ALERT_URL="")
    assert "Alerts: as they were set before" in without.stdout
    assert on_the_server(prefect_environment)[1] == before[1]
