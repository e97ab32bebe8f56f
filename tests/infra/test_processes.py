"""Processes are known by id and start time; what a killed one left is found by its mark."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack import processes
from infra.stack.processes import MARK, Started

CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True); "
SLEEPS = "print('ready', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
# a semaphore that Python's resource tracker unlinks once its user is dead
SEMAPHORE = (
    "import multiprocessing, time; lock = multiprocessing.get_context('spawn').Lock(); print(lock._semlock.name); " + SLEEPS
)


class Marked:
    """Starts Python as a process of a stack."""

    def __init__(self, folder: Path) -> None:
        self.stack_id = secrets.token_hex(8)
        self.log = folder / "log"

    def start(self, code: str) -> Started:
        environment = {**os.environ, MARK: f"{self.stack_id}/one"}
        popen = processes.start([sys.executable, "-c", code], environment, Path("/"), self.log, None, None)
        popen.returncode = 0
        deadline = time.monotonic() + 30
        while b"ready" not in self.log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.02)
        return Started.of(popen.pid)

    @property
    def alive(self) -> list[Started]:
        return list(processes.marked(self.stack_id))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Marked]:
    made = Marked(tmp_path)
    yield made
    processes.end_marked(made.stack_id)


def test_a_process_is_known_by_its_start() -> None:
    ours = Started.of(os.getpid())
    assert ours.alive
    assert not Started(ours.pid, "another boot:1").alive
    assert not Started(ours.pid, "").alive
    assert not Started(2**22 + 1, ours.start).alive


def test_a_dead_process_that_nobody_waited_for_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.start_time(child.pid) == ""


def test_ending_waits_and_leaves_what_ignores_it_to_the_kill(stack: Marked) -> None:
    started = stack.start(DEAF)
    processes.end(started, "SIGTERM", grace=0.2)
    assert started.alive
    processes.end_marked(stack.stack_id)
    assert not started.alive


def test_a_number_that_was_given_away_costs_no_stranger(stack: Marked) -> None:
    stranger = stack.start("import time; " + SLEEPS)
    processes.end(Started(stranger.pid, "an earlier boot:77"), "SIGKILL", grace=0)
    processes.end_marked(secrets.token_hex(8))
    processes.end_marked(stack.stack_id, "another")
    assert stranger.alive


def test_children_of_a_killed_process_are_found(stack: Marked) -> None:
    """Even those with a session of their own, as flow runs have."""
    parent = stack.start(CHILD + SLEEPS)
    os.kill(parent.pid, signal.SIGKILL)
    os.waitpid(parent.pid, 0)
    orphans = stack.alive
    assert len(orphans) == 1
    processes.end_marked(stack.stack_id, "one")
    assert not orphans[0].alive


def test_semaphores_are_removed_by_those_who_look_after_them(stack: Marked) -> None:
    stack.start(SEMAPHORE)
    name = stack.log.read_text().split()[0]
    semaphore = Path(f"/dev/shm/sem.{name.strip('/')}")
    assert semaphore.exists()
    assert len(stack.alive) == 2
    processes.end_marked(stack.stack_id)
    assert not stack.alive
    assert not semaphore.exists()


def test_memory_counts_children(stack: Marked) -> None:
    parent = stack.start(CHILD + "data = bytearray(b'x') * (50 << 20); " + SLEEPS)
    assert 50e6 < processes.memory(parent) < 200e6
    assert processes.memory(Started(2**22 + 1, "")) == 0
