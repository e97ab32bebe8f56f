"""`make deploy`: work pool, queues, deployments and automations on the Prefect server that PREFECT_API_URL names. Twice changes nothing.

Settings, all but the first optional: PREFECT_API_URL; TRUNKLINE_STORE and TRUNKLINE_SOURCE, the forms' defaults; TRUNKLINE_ALERT_URL, where
failures are told; TRUNKLINE_SILENT_SECONDS, after which a run that is not heard of is marked as Crashed.
"""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from infra import work_pool
from infra.alerts import told_to
from infra.unresponsive import HEARTBEAT_SECONDS, SILENT_SECONDS, crashed_when_silent

ROOT = Path(__file__).parents[1]
WAIT_SECONDS = 60.0
DEFAULTS = {"source": "TRUNKLINE_SOURCE", "store": "TRUNKLINE_STORE"}


class DeployError(Exception):
    """What hindered it, and what to check."""


def main() -> None:
    """Do all of it; say each step."""
    try:
        deploy(_seconds("TRUNKLINE_DEPLOY_WAIT", WAIT_SECONDS, 0))
    except DeployError as error:
        sys.exit(f"Not deployed: {error}")


def deploy(wait_seconds: float) -> None:
    """Raises DeployError."""
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        raise DeployError("PREFECT_API_URL is not set. It names the server, such as http://127.0.0.1:4200/api.")
    silent = _seconds("TRUNKLINE_SILENT_SECONDS", SILENT_SECONDS, 3 * HEARTBEAT_SECONDS)
    _wait_for(url, wait_seconds)
    asyncio.run(_pool())
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        _deployments(client)
        _say(told_to(client, os.environ.get("TRUNKLINE_ALERT_URL", "")))
        _say(crashed_when_silent(client, silent))


def _seconds(name: str, default: float, least: float) -> float:
    """A setting in seconds. Raises DeployError for what is none, or too little."""
    said = os.environ.get(name) or str(default)
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not least <= seconds < math.inf:
        raise DeployError(
            f"{name} is {said!r}; it takes a number of seconds, {least:.0f} at least. Unset, it is {default:.0f}."
        )
    return seconds


def prepared(said: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """`prefect.yaml` for this environment: without the defaults that are not set.

    Without a source nothing can run each night, so the schedule is off, and an event has to name source and store.
    """
    for deployment in said["deployments"]:
        spec = deployment["parameters"].get("spec", deployment["parameters"])
        missing = [name for name, variable in DEFAULTS.items() if name in spec and not environment.get(variable)]
        deployment["parameters"] = _without(deployment["parameters"], missing)
        if missing:
            for schedule in deployment.get("schedules", ()):
                schedule["active"] = False
            for trigger in deployment.get("triggers", ()):
                of_event = {name: f"{{{{ event.payload.{name} }}}}" for name in missing}
                trigger["parameters"]["spec"] = deployment["parameters"]["spec"] | of_event
    return said


def _without(parameters: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {
        name: _without(value, names) if isinstance(value, dict) else value
        for name, value in parameters.items()
        if name not in names
    }


def _wait_for(url: str, seconds: float) -> None:
    """Until the server answers; pauses double from half a second to eight."""
    import httpx

    started, pause = time.monotonic(), 0.5
    while True:
        try:
            httpx.get(f"{url.rstrip('/')}/health", timeout=5).raise_for_status()
            return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            left = seconds - (time.monotonic() - started)
            if left <= 0:
                raise DeployError(
                    f"the Prefect server at {url} does not answer ({error}), asked again for {seconds:.0f} s. Check that it runs, that "
                    "PREFECT_API_URL is its address and ends with /api, and that this machine reaches it."
                ) from error
            _say(f"Waiting for the Prefect server at {url} ...")
            time.sleep(min(pause, left))
            pause = min(2 * pause, 8.0)


async def _pool() -> None:
    """The pool with its queues. Raises DeployError where another kind of pool has its name."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        await work_pool.prepare(client, ROOT)
        pool = await client.read_work_pool(work_pool.POOL)
        queues = await client.read_work_queues(work_pool_name=work_pool.POOL)
    if pool.type != "process":
        raise DeployError(
            f"the work pool {pool.name} is there already, of type {pool.type!r}, and trunkline's is of type 'process'. Delete or rename it."
        )
    _say(f"Work pool {pool.name}: " + ", ".join(f"{queue.name} {queue.priority}" for queue in queues))


def _deployments(client: Any) -> None:
    said = prepared(yaml.safe_load((ROOT / "infra/prefect.yaml").read_text()), dict(os.environ))
    names = [deployment["name"] for deployment in said["deployments"]]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(said, file, sort_keys=False)
        file.flush()
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file.name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=_paths())
    if done.returncode:
        raise DeployError(f"Prefect refused a deployment:\n{(done.stdout + done.stderr)[-3000:]}")
    for name in names:
        deployment = client.read_deployment_by_name(f"{name}/{name}")
        active = [schedule.schedule for schedule in deployment.schedules if schedule.active]
        when = ", ".join(f"cron {each.cron} {each.timezone}" for each in active) or "by hand"
        _say(f"Deployment {name}: queue {deployment.work_queue_name}, {when}")


def _paths() -> dict[str, str]:
    """The environment, with the checkout on Python's path: flows and tasks are no part of the wheel."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
