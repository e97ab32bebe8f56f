"""A run that was started: where it is by its log, its processes by the process tree, and killing them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.kills.driver import LOG
from tests.s3 import free_port
from tests.test_planned_failures import kill_group
from trunkline.specs import RunSpec

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180
STAGES = ("scan", "extract", "select", "fit", "report")
SETTINGS = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}  # a dead scheduler is not waited for as long as a slow one


@dataclass(frozen=True)
class Log:
    """The lines that driver and workers wrote, oldest first; one file for all starts on one store."""

    place: Path

    def lines(self, since: int = 0) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in self.place.read_text().splitlines()[since:]]
        return []

    def stage(self, since: int) -> str:
        """Where the run is that started after so many lines."""
        return next((line["stage"] for line in reversed(self.lines(since)) if "stage" in line), "")


@dataclass
class Started:
    """A driver in a process group of its own."""

    process: subprocess.Popen[bytes]
    log: Log
    since: int
    folder: Path

    @property
    def stage(self) -> str:
        return self.log.stage(self.since)

    def shards(self, attempt: str) -> int:
        """How many of them `began` or `ended` since it started."""
        return len({line["shard"] for line in self.log.lines(self.since) if line.get("attempt") == attempt})

    def workers(self) -> list[int]:
        """The Dask workers among its descendants."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "spawn_main" in " ".join(child.cmdline()):
                        found.append(child.pid)
        return found

    def waits_for(self, moment: Callable[[], object]) -> bool:
        """Whether the moment came before the run ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not moment():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"the moment never came; it stands in {self.stage}"
            time.sleep(0.002)
        return self.process.poll() is None

    def ended(self) -> tuple[int, str, str]:
        """Let it end: its exit code, what it printed, what it said."""
        try:
            code = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(1)
            raise AssertionError(f"It does not end: {(self.folder / 'driver.err').read_text()}") from error
        return code, (self.folder / "driver.out").read_text(), (self.folder / "driver.err").read_text()


@contextlib.contextmanager
def started(spec: RunSpec, folder: Path, log: Log) -> Iterator[Started]:
    """`trunkline run` of this spec; whatever is left of it is gone at the end."""
    place = folder / "spec.yaml"
    place.write_text(json.dumps(spec.model_dump(mode="json")))
    command = [sys.executable, "-c", "from tests.kills.driver import run; run()", "run", str(place), "--json"]
    since = len(log.lines())
    with _process("driver", command, folder, log) as process:
        yield Started(process, log, since, folder)


@contextlib.contextmanager
def scheduler_and_workers(folder: Path, log: Log, workers: int) -> Iterator[tuple[str, int, list[int]]]:
    """`dask scheduler` and some `dask worker`, each a process: the address, and their pids."""
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = [sys.executable, "-m", "dask"]
    of_scheduler = ["--host", "127.0.0.1", "--port", address.rsplit(":", 1)[1], "--no-dashboard"]
    of_worker = [address, "--no-nanny", "--nthreads", "2", "--no-dashboard", "--death-timeout", "30"]
    with contextlib.ExitStack() as all_of_them:
        scheduler = all_of_them.enter_context(_process("scheduler", [*dask, "scheduler", *of_scheduler], folder, log))
        hands = [
            all_of_them.enter_context(_process(f"worker-{number}", [*dask, "worker", *of_worker], folder, log))
            for number in range(workers)
        ]
        _wait_for_workers(address, workers)
        yield address, scheduler.pid, [each.pid for each in hands]


def killed(pid: int) -> None:
    """Kill -9; it is gone afterwards, or waits for its parent to notice."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"process {pid} does not die"
            time.sleep(0.002)


def _wait_for_workers(address: str, workers: int) -> None:
    from distributed import Client

    with Client(address, timeout=PATIENCE_SECONDS, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def _process(name: str, command: list[str], folder: Path, log: Log) -> Iterator[subprocess.Popen[bytes]]:
    """In a process group of its own; what it says goes to files, which never fill up as pipes do."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | SETTINGS | {"TMPDIR": str(scratch), LOG: str(log.place), "PYTHONPATH": path}
    with (
        (folder / f"{name}.out").open("w") as out,
        (folder / f"{name}.err").open("w") as err,
        subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True, cwd=folder, env=environment) as process,
    ):
        try:
            yield process
        finally:
            kill_group(process)
