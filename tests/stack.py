"""A real stack for tests: PostgreSQL, Prefect server and worker, Dask scheduler and workers, an S3 store, as `make stack` starts them.

    def test_something(stack: Stack) -> None:       # the fixture of tests/conftest.py; mark the test slow
        subprocess.run([...], env=stack.processes_environment)
        stack.kill("prefect-server")                # as a crash would
        stack.start("prefect-server")

A test that stops or kills services brings them back: the others use the same stack. Nothing is started again by itself, as containers
would be; Dask workers end with their scheduler, so the two are started together: `stack.start("dask-scheduler", "dask-worker")`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "infra/stack.sh"


@dataclass(frozen=True)
class Stack:
    """A stack in a folder of its own, all ports chosen by the system."""

    folder: Path

    def command(self, *words: str, workers: int = 2) -> subprocess.CompletedProcess[str]:
        """Run stack.sh and return what it said."""
        self.home.mkdir(exist_ok=True)
        ours = {"STACK": str(self.folder), "STACK_PORTS": "free", "WORKERS": str(workers), "HOME": str(self.home)}
        environment = {**os.environ, **ours}
        return subprocess.run([str(SCRIPT), *words], env=environment, capture_output=True, text=True, timeout=240)

    @property
    def home(self) -> Path:
        """The home of whoever starts the stack."""
        return self.folder.parent / "home"

    def up(self, workers: int = 2) -> str:
        """Start what does not run."""
        return self._well("up", workers=workers)

    def down(self) -> str:
        """End all of it, and delete the folder."""
        return self._well("down")

    def start(self, *names: str) -> str:
        """Start services, and wait until they are healthy."""
        return self._well("start", *names)

    def stop(self, *names: str) -> str:
        """End services as an administrator would."""
        return self._well("stop", *names)

    def restart(self, *names: str) -> str:
        """End services and start them again."""
        return self._well("restart", *names)

    def kill(self, name: str) -> None:
        """Kill a process (`dask-worker-1`) and all its children with SIGKILL, as a crash would."""
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended with another that it needs
            process = psutil.Process(self.pid(name))
            for each in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.send_signal(signal.SIGKILL)

    def pid(self, name: str) -> int:
        """The id of a process, by its name in `stack.sh status`."""
        pid: int = json.loads((self.folder / "pids" / f"{name}.json").read_text())["pid"]
        return pid

    def log(self, name: str) -> str:
        """What a process wrote."""
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the stack's environment file."""
        lines = (self.folder / "environment").read_text().splitlines()
        assignments = [shlex.split(line.removeprefix("export "))[0] for line in lines if line.startswith("export ")]
        return dict(assignment.split("=", 1) for assignment in assignments)

    @property
    def processes_environment(self) -> dict[str, str]:
        """The environment of a process that shall talk to the stack and import this checkout."""
        return {**os.environ, **self.environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}

    def _well(self, *words: str, workers: int = 2) -> str:
        done = self.command(*words, workers=workers)
        assert done.returncode == 0, f"stack.sh {' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout


@contextlib.contextmanager
def running(folder: Path, workers: int = 2) -> Iterator[Stack]:
    """A stack that is up, and ended afterwards, come what may."""
    stack = Stack(folder)
    try:
        stack.up(workers)
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests of a session."""
    with running(tmp_path_factory.mktemp("stack") / "stack") as up:
        yield up
