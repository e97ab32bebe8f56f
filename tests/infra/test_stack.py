"""A real stack: all healthy, usable by its environment file, mended service by service, and gone afterwards."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.healthy import healthy
from infra.stack import processes
from infra.stack.folder import Folder
from tests.stack import Stack, running

pytestmark = pytest.mark.slow

PYTHON = sys.executable
POOL = """
import asyncio
from prefect.client.orchestration import get_client
async def main():
    async with get_client() as client:
        print((await client.read_work_pool("trunkline")).type)
        for queue in await client.read_work_queues(work_pool_name="trunkline"):
            print(queue.name, queue.priority)
asyncio.run(main())
"""
BUCKET = """
import os
from trunkline.locations import Location
place = Location.of(os.environ["TRUNKLINE_STORE"]) / "some/object"
assert place.create(b"content") is None
print(place.read().decode())
"""
WORKERS = """
import os
from distributed import Client
with Client(os.environ["TRUNKLINE_DASK_SCHEDULER"]) as client:
    client.wait_for_workers({workers}, timeout=60)
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        print(worker["nthreads"], worker["memory_limit"])
"""
RUN = """
import asyncio
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_runs import wait_for_flow_run
async def main():
    async with get_client() as client:
        deployment = await client.create_deployment(
            await client.create_flow_from_name("where"), "where", work_pool_name="trunkline", work_queue_name="nightly",
            entrypoint="tests/infra/flows.py:where", path=".")
        run = await client.create_flow_run_from_deployment(deployment)
        print((await wait_for_flow_run(run.id, timeout=120)).state.name)
asyncio.run(main())
"""


def run(stack: Stack, *words: str) -> str:
    done = subprocess.run(words, env=stack.processes_environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pids(stack: Stack) -> dict[str, int]:
    """Name → process id of each service that runs."""
    rows = [line.split() for line in stack.command("status").stdout.splitlines()]
    return {row[0]: int(row[2]) for row in rows if row[1] == "healthy"}


def marked(stack: Stack) -> list[processes.Started]:
    return list(processes.marked(Folder(stack.folder).settings().stack_id))


def test_every_service_is_healthy_and_says_so(stack: Stack) -> None:
    said = stack.command("status")
    assert said.returncode == 0
    states = {line.split()[0]: line.split()[1] for line in said.stdout.splitlines()}
    assert states == {
        **dict.fromkeys(["postgres", "prefect-server", "prefect-worker", "dask-scheduler", "metrics", "s3"], "healthy"),
        **dict.fromkeys(["dask-worker-1", "dask-worker-2"], "healthy"),
        **dict.fromkeys(["work-pool", "bucket"], "done"),
    }
    assert len(re.findall(r"\d\.\d\d GB", said.stdout)) == 8


def test_a_shell_that_reads_the_environment_file_talks_to_prefect(stack: Stack) -> None:
    words = f". '{stack.folder}/environment'; '{Path(PYTHON).parent / 'prefect'}' work-pool ls"
    clean = {"PATH": os.environ["PATH"], "HOME": str(stack.home)}
    done = subprocess.run(["sh", "-c", words], env=clean, capture_output=True, text=True, timeout=120)
    assert "trunkline" in done.stdout
    assert done.stderr == ""


def test_prefect_has_the_work_pool_and_its_queues(stack: Stack) -> None:
    kind, *queues = run(stack, PYTHON, "-c", POOL).splitlines()
    assert kind == "process"
    assert sorted(queues) == ["backfill 10", "default 5", "nightly 1"]


def test_the_bucket_takes_objects_and_is_made_again_with_the_store(stack: Stack) -> None:
    assert run(stack, PYTHON, "-c", BUCKET) == "content\n"
    said = stack.restart("s3")
    assert re.search(r"bucket +done after", said)
    assert run(stack, PYTHON, "-c", BUCKET) == "content\n"  # its contents ended with it, so `create` does not meet the object


def test_dask_has_two_workers_of_two_threads(stack: Stack) -> None:
    assert run(stack, PYTHON, "-c", WORKERS.format(workers=2)).splitlines() == [f"2 {4 * 2**30}"] * 2


def test_metrics_and_the_user_interface_answer(stack: Stack) -> None:
    assert healthy(f"http://127.0.0.1:{stack.environment['TRUNKLINE_METRICS_PORT']}/metrics")
    assert healthy(stack.environment["PREFECT_API_URL"].removesuffix("/api"))


def test_flow_runs_start_in_the_checkout(stack: Stack) -> None:
    assert run(stack, PYTHON, "-c", RUN) == "Completed\n", stack.log("prefect-worker")


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    ours = {each.pid for each in marked(stack)} | {stack.pid("postgres")}
    listening = [each for each in psutil.net_connections("inet") if each.status == psutil.CONN_LISTEN and each.pid in ours]
    assert len(listening) >= 8
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}


def test_the_home_of_its_user_stays_empty(stack: Stack) -> None:
    assert list(stack.home.iterdir()) == []


def test_one_service_is_restarted_and_the_others_are_left_alone(stack: Stack) -> None:
    before = pids(stack)
    stack.restart("prefect-server")
    after = pids(stack)
    assert {name for name in before if before[name] != after[name]} == {"prefect-server"}
    assert run(stack, PYTHON, "-c", POOL).splitlines()[0] == "process"  # it is all in PostgreSQL


def test_what_died_is_said_and_started_again_alone(stack: Stack) -> None:
    before = pids(stack)
    stack.kill("dask-worker-1")
    stack.stop("metrics")
    said = stack.command("status")
    assert said.returncode == 1
    assert re.search(r"dask-worker-1 +dead", said.stdout)
    assert re.search(r"metrics +stopped", said.stdout)
    assert "2 services were started" in stack.up()
    after = pids(stack)
    assert {name for name in before if before[name] != after[name]} == {"dask-worker-1", "metrics"}
    assert "It runs already" in stack.up()


def test_nothing_is_left_of_a_stack_even_after_kills(tmp_path: Path) -> None:
    """A killed PostgreSQL leaves a lock file and a segment of shared memory, a killed nanny its worker."""
    with running(tmp_path / "stack", workers=1) as stack:
        settings = Folder(stack.folder).settings()
        started = [*marked(stack), *(processes.Started.of(pid) for pid in pids(stack).values())]
        segment = str(stack.pid("postgres"))
        assert segment in _creators()
        for name in ("postgres", "dask-worker", "prefect-worker"):
            os.kill(stack.pid(name), signal.SIGKILL)
        stack.down()
    assert [each for each in started if each.alive] == []
    assert list(processes.marked(settings.stack_id)) == []
    assert [port for port in settings.ports.values() if _answers(port)] == []
    assert [place for place in settings.elsewhere.values() if Path(place).exists()] == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["home"]
    assert segment not in _creators()


def test_a_service_that_dies_shows_its_last_words(stack: Stack) -> None:
    """Its port is taken here while it is away."""
    port = int(stack.environment["TRUNKLINE_METRICS_PORT"])
    stack.stop("metrics")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        said = stack.command("start", "metrics")
    assert said.returncode == 1
    assert re.search(
        r"metrics ended\. The last lines of .*/logs/metrics\.log:\n    .*make stack tries again", said.stderr, re.DOTALL
    )
    stack.start("metrics")


def _creators() -> set[str]:
    """The processes that made the segments of shared memory that there are."""
    names, *rows = (line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines())
    return {row[names.index("cpid")] for row in rows}


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
