"""A Prefect server with trunkline's deployments, a worker, and somebody who hears the alerts; and the calls that the UI makes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from tests.flows.conftest import _wait_until_healthy
from tests.s3 import free_port

PROJECT = Path(__file__).parents[2]
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
DEADLINE_SECONDS = 400.0
BUSY_ATTEMPTS = 20


class RefusedError(Exception):
    """The server's answer to a request that it does not take."""


class BusyError(Exception):
    """The server has no time for a request now."""


@dataclass
class Deployed:
    """`alerts` are the bodies that were posted to the alerts' address."""

    environment: dict[str, str]
    folder: Path
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def call(self, path: str, body: Any = None) -> Any:
        """The API's answer; POST where there is a body. A server that is too busy (503) is asked again, as Prefect's own client does."""
        for _ in range(BUSY_ATTEMPTS):
            with contextlib.suppress(BusyError):
                return self._call(path, body)
            time.sleep(1.0)
        raise RefusedError(f"503: the server stays too busy for {path}")

    def _call(self, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.environment['PREFECT_API_URL']}{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code == 503:
                raise BusyError from error
            raise RefusedError(f"{error.code}: {error.read().decode()}") from error

    def start(self, name: str, **parameters: Any) -> str:
        """Start a deployment as the UI does; the run's id."""
        deployment = self.call(f"/deployments/name/{name}/{name}")["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.call(f"/deployments/{deployment}/create_flow_run", body)["id"])

    def ended(self, run: str) -> dict[str, Any]:
        """The run, once it has ended."""
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            with contextlib.suppress(OSError):  # the server may be gone for a while
                found.update(self.call(f"/flow_runs/{run}"))
            return found.get("state_type") in ENDED

        until(has_ended, f"the run {run} has ended")
        return found

    def runs_of(self, name: str) -> list[dict[str, Any]]:
        return list(self.call("/flow_runs/filter", {"deployments": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}))

    def tasks_of(self, run: str) -> dict[str, dict[str, Any]]:
        """The run's task runs by name."""
        return {each["name"]: each for each in self.call("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})}

    def artifacts_of(self, run: str) -> dict[str, dict[str, Any]]:
        """The run's artifacts by key."""
        return {each["key"]: each for each in self.call("/artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}})}

    def prefect(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "prefect", *arguments]
        subprocess.run(command, env=self.environment, check=True, capture_output=True, timeout=120)


@dataclass
class Server:
    """A Prefect server that can be killed and started again, with the same data at the same address."""

    environment: dict[str, str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def below(cls, folder: Path) -> Server:
        port = free_port()
        environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_UI_ENABLED": "false",
        }
        return cls(environment, port, folder / "server.log")

    def start(self) -> None:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=subprocess.STDOUT)
        _wait_until_healthy(self.environment["PREFECT_API_URL"], self.process, self.log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)


@contextlib.contextmanager
def deployed(environment: dict[str, str], folder: Path, **settings: str) -> Iterator[Deployed]:
    """Deploy, and run a worker meanwhile."""
    paths = os.pathsep.join(map(str, (PROJECT / "src", PROJECT)))
    environment = {**environment, "PYTHONPATH": paths, "PREFECT_WORKER_QUERY_SECONDS": "2", **settings}
    made = Deployed(environment, folder)
    with _hearing(made.alerts) as address:
        environment["TRUNKLINE_ALERT_URL"] = address
        subprocess.run([sys.executable, "-m", "infra.deploy"], cwd=PROJECT, env=environment, check=True, timeout=240)
        with (folder / "worker.log").open("wb") as log:
            command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "trunkline", "--name", folder.name]
            worker = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield made
        finally:
            worker.send_signal(signal.SIGINT)
            worker.wait(60)


def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for it; fail where it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s it is not so that {what}"
        time.sleep(0.2)


@contextlib.contextmanager
def _hearing(posted: list[dict[str, Any]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/alerts"
        server.shutdown()
        thread.join()
