"""What workers log, in the log of the Prefect run: with the right task, at a bearable rate."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_pipeline import ask

FLOW = """
import logging
import os
import signal
import sys
import threading

from prefect import flow, task
import tasks.stage
from trunkline.clusters import Cluster
from trunkline.logs import about, outlet
from trunkline.shards import Shard
from trunkline.specs import ClusterSpec

LOUD = 300

def shout(job, shard):
    for number in range(job):
        logging.getLogger("trunkline.loud").info("Image %d of s3://user:hunter22@bucket/x is bad", number)
    logging.getLogger("trunkline.once").warning("Shard %s was seen", shard.name)
    logging.getLogger("distributed.worker").warning("Memory is short")
    return shard.start

def process(_job, _shard):
    return os.getpid()

class Seen(logging.Handler):
    def __init__(self):
        super().__init__()
        self.said = threading.Event()

    def emit(self, record):
        if record.name == "distributed.nanny":
            self.said.set()

@task(task_run_name="shouting")
def shouting():
    with Cluster(ClusterSpec(kind="local", workers=2)) as cluster:
        assert sorted(cluster.executor.map(shout, LOUD, [Shard(0, 64), Shard(64, 128)])) == [0, 64]
        seen = Seen()
        logging.getLogger("distributed").addHandler(seen)
        (worker,) = cluster.executor.map(process, None, [Shard(0, 64)])
        os.kill(worker, signal.SIGKILL)
        assert seen.said.wait(60)
    outlet.tell()

@flow(name="loud", flow_run_name=sys.argv[1])
def loud():
    with about(run="r1", dataset="photos"):
        logging.getLogger("trunkline.flow").info("Before the task")
        shouting()

if __name__ == "__main__":
    loud()
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
    """Records in Prefect's database, and the name of the task run by id."""
    folder = tmp_path_factory.mktemp("loud")
    script = folder / "loud.py"
    script.write_text(FLOW)
    root = Path(__file__).parents[2]
    environment = {**prefect_environment, "PYTHONPATH": f"{root / 'src'}:{root}", "TRUNKLINE_LOG_FORMAT": "json"}
    done = subprocess.run(
        [sys.executable, str(script), folder.name], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = ask(prefect_environment, "flow_runs", flow_runs={"name": {"any_": [folder.name]}})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        records = ask(prefect_environment, "logs", logs={"flow_run_id": {"any_": [run["id"]]}}, limit=200)
        if any("more like" in record["message"] for record in records):
            break
        time.sleep(0.5)  # Prefect writes logs in the background
    names = {
        task["id"]: task["name"] for task in ask(prefect_environment, "task_runs", flow_runs={"id": {"any_": [run["id"]]}})
    }
    return [{**record, "task": names.get(record["task_run_id"])} for record in records], done.stderr


@pytest.mark.slow
def test_workers_records_are_in_the_log_of_their_task_run(logged: tuple[list[dict[str, Any]], str]) -> None:
    records, _ = logged
    seen = [record for record in records if record["name"] == "trunkline.once"]
    assert {record["task"] for record in seen} == {"shouting"}
    shards = sorted(
        re.fullmatch(r"Shard (\d+) was seen \(worker tcp://127\.0\.0\.1:\d+\)", each["message"])[1] for each in seen
    )
    assert shards == ["000000000000", "000000000064"]
    assert {each["level"] for each in seen} == {30}


@pytest.mark.slow
def test_records_outside_tasks_are_in_the_log_of_the_flow_run(logged: tuple[list[dict[str, Any]], str]) -> None:
    records, _ = logged
    assert [record["task"] for record in records if record["message"] == "Before the task"] == [None]


@pytest.mark.slow
def test_dasks_warnings_arrive_too(logged: tuple[list[dict[str, Any]], str]) -> None:
    records, _ = logged
    assert len([record for record in records if record["message"].startswith("Memory is short")]) == 2


@pytest.mark.slow
def test_a_worker_that_is_lost_is_in_the_log_of_the_task_though_dasks_threads_know_no_run(
    logged: tuple[list[dict[str, Any]], str],
) -> None:
    records, _ = logged
    lost = [record for record in records if record["name"] == "distributed.nanny"]
    assert {record["task"] for record in lost} == {"shouting"}


@pytest.mark.slow
def test_thousands_of_lines_on_workers_are_a_few_in_the_database_and_a_sum(logged: tuple[list[dict[str, Any]], str]) -> None:
    records, printed = logged
    loud = [record["message"] for record in records if record["name"] == "trunkline.loud"]
    assert len(loud) == 21
    (summary,) = [message for message in loud if "more like" in message]
    assert summary.startswith("580 more like: Image %d of s3://bucket/x is bad")
    assert "hunter22" not in json.dumps(records) + printed


@pytest.mark.slow
def test_a_flows_process_writes_json_lines_of_prefects_records_too(logged: tuple[list[dict[str, Any]], str]) -> None:
    _, printed = logged
    lines = [json.loads(line) for line in printed.splitlines()]
    assert {"trunkline.flow", "trunkline.loud", "prefect.flow_runs"} <= {line["logger"] for line in lines}
    (before,) = [line for line in lines if line["message"] == "Before the task"]
    assert (before["run"], before["dataset"]) == ("r1", "photos")
    assert {line["shard"] for line in lines if line["logger"] == "trunkline.once"} == {"000000000000", "000000000064"}
    assert all(line["flow_run_id"] for line in lines if line["logger"] == "prefect.flow_runs")
