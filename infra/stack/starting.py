"""Starting what does not run, in the order of what needs what, until all of it is healthy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.stack import postgres, processes
from infra.stack.errors import StackError
from infra.stack.folder import Folder
from infra.stack.translation import Process

PAUSE_SECONDS = 0.3
CHECK_SECONDS = 15
PATIENCE = 4  # times a service's start_period: a busy laptop is slower than a server
INHERITED = ("LANG", "LC_ALL", "TZ", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
LOG_LINES = 15
READY = {True: "done", False: "healthy"}

Say = Callable[[str], None]


@dataclass
class Starter:
    """Starts the processes of one stack."""

    folder: Folder
    stack_id: str
    checkout: Path
    say: Say
    started: list[str] = field(default_factory=list)
    _begun: dict[str, float] = field(default_factory=dict)
    _jobs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, wanted: Iterable[Process]) -> None:
        """Start those of `wanted` that do not run, and wait until all are healthy and all jobs are done; `started` names those begun.

        What needs a service outside `wanted` takes it as it is. Raises StackError where one ends or does not become healthy.
        """
        waiting = {process.name: process for process in wanted}
        while waiting:
            awaited = {process.service.name for process in waiting.values()}
            for process in list(waiting.values()):
                if process.name not in self._begun and not awaited & set(process.service.needs):
                    self._begin(process)
                if process.name in self._begun and self._ready(process):
                    del waiting[process.name]
            time.sleep(PAUSE_SECONDS if waiting else 0)

    def _begin(self, process: Process) -> None:
        self._begun[process.name] = time.monotonic()
        if self._as_it_should_be(process):
            return
        processes.end_marked(self.stack_id, process.name)  # what a killed one left running
        for place in process.folders.values():
            place.mkdir(parents=True, exist_ok=True)
        popen = self._start(process)
        self.started.append(process.name)
        if process.service.runs_once:
            self._jobs[process.name] = popen
        else:
            popen.returncode = 0  # it outlives this command: nobody waits for it
            self.folder.remember(process.name, processes.Started.of(popen.pid))

    def _as_it_should_be(self, process: Process) -> bool:
        """A service that runs, or a job that is done, unless what it needs was just started: an S3 store begins empty."""
        before = self.folder.started(process.name)
        if process.service.runs_once:
            return before is not None and not set(self.started) & set(process.service.needs)
        return before is not None and before.alive

    def _start(self, process: Process) -> subprocess.Popen[bytes]:
        user, words, folder = postgres.User(None, None), found(process.command), self.checkout
        if process.service.name == postgres.SERVICE:
            postgres.create(process)
            user, words, folder = postgres.user(), postgres.command(process), Path("/")
        environment = {**environment_of(process), processes.MARK: f"{self.stack_id}/{process.name}"}
        return processes.start(words, environment, folder, self.folder.log(process.name), user.uid, user.gid)

    def _ready(self, process: Process) -> bool:
        seconds = time.monotonic() - self._begun[process.name]
        ready = self._job_done(process) if process.service.runs_once else self._healthy(process)
        if ready:
            new = process.name in self.started
            self.say(
                f"  {process.name:<16} {READY[process.service.runs_once]}" + (f" after {seconds:.0f} s" if new else " already")
            )
        elif seconds > PATIENCE * process.service.start_period:
            raise StackError(self._trouble(process, f"is not healthy after {seconds:.0f} s"))
        return ready

    def _job_done(self, process: Process) -> bool:
        job = self._jobs.get(process.name)
        status = job.poll() if job else 0
        if status:
            raise StackError(self._trouble(process, f"failed with exit status {status}"))
        if job and status == 0:
            self.folder.remember(process.name, processes.Started(job.pid, ""))
        return status == 0

    def _healthy(self, process: Process) -> bool:
        started = self.folder.started(process.name)
        if started is None or not started.alive:
            raise StackError(self._trouble(process, "ended"))
        return healthy(process, self.checkout)

    def _trouble(self, process: Process, what: str) -> str:
        log = self.folder.log(process.name)
        last = "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        return (
            f"{process.name} {what}. The last lines of {log}:\n{last}\nmake stack tries again; make stack-down ends what runs."
        )


def environment_of(process: Process) -> dict[str, str]:
    """What a process sees: what compose.yaml says, and of ours only where programs are and how text is written."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": path, **{name: os.environ[name] for name in INHERITED if name in os.environ}, **process.environment}


def found(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command with the program of this Python's environment, if it has one of that name."""
    beside = Path(sys.executable).parent / command[0]
    return (str(beside), *command[1:]) if beside.exists() else command


def healthy(process: Process, checkout: Path) -> bool:
    """Run the service's health check."""
    words = found(process.check)
    if process.service.name == postgres.SERVICE:
        words = (str(postgres.binaries() / process.check[0]), *process.check[1:])
    environment: Mapping[str, str] = environment_of(process)
    try:
        done = subprocess.run(words, env=environment, cwd=checkout, capture_output=True, timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
