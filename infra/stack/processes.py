"""Starting and ending processes: by process id and start time, so that a number that was given away never costs a stranger."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "TRUNKLINE_STACK_ID"  # in the environment of every process of a stack, and inherited by all they start
PAUSE_SECONDS = 0.05
LAST_SECONDS = 5.0


@dataclass(frozen=True)
class Started:
    """A process: its id, and when it started, as boot id and kernel ticks."""

    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> Started:
        """A process that runs now."""
        return cls(pid, start_time(pid))

    @property
    def alive(self) -> bool:
        """Whether this very process runs: not another one with its number, and no zombie."""
        return bool(self.start) and start_time(self.pid) == self.start


def start_time(pid: int) -> str:
    """The boot's id and the kernel's ticks at the process's start; '' where it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, user: int | None, group: int | None
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output added to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )


def end(started: Started, stop_signal: str, grace: float) -> None:
    """Ask the process to end, and wait for `grace` seconds."""
    if started.alive:
        _send(started, signal.Signals[stop_signal])
        _wait_until_dead([started], grace)


def end_marked(stack_id: str, name: str | None = None) -> None:
    """Kill what still bears the mark: what did not end in time, and children that outlived a killed parent.

    Python's resource trackers are left alone until last: they end by themselves, once they have removed the semaphores of those they
    served from /dev/shm.
    """
    trackers: list[Started] = []
    others: list[Started] = []
    for each in marked(stack_id, name):
        (trackers if _tracks_resources(each) else others).append(each)
    for doomed, patience in ((others, 0.0), (trackers, LAST_SECONDS)):
        _wait_until_dead(doomed, patience)
        for each in doomed:
            _send(each, signal.SIGKILL)
        _wait_until_dead(doomed, LAST_SECONDS)


def _tracks_resources(started: Started) -> bool:
    with contextlib.suppress(psutil.Error):
        return any("multiprocessing.resource_tracker" in word for word in psutil.Process(started.pid).cmdline())
    return False


def marked(stack_id: str, name: str | None = None) -> Iterator[Started]:
    """Every process whose environment bears the mark of this stack, or of one process of it and what it started."""
    for process in psutil.process_iter():
        began = start_time(process.pid)
        with contextlib.suppress(psutil.Error, OSError):
            mark, _, owner = process.environ().get(MARK, "").partition("/")
            if mark == stack_id and name in (None, owner) and began:
                yield Started(process.pid, began)


def memory(started: Started) -> int:
    """Bytes in memory of the process and all its descendants; what several share counts once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(started.pid)
        for process in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total


def _send(started: Started, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if started.alive:
            os.kill(started.pid, what)


def _wait_until_dead(processes: Sequence[Started], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(each.alive for each in processes) and time.monotonic() < deadline:
        for each in processes:
            with contextlib.suppress(ChildProcessError):  # one that this command started itself
                os.waitpid(each.pid, os.WNOHANG)
        time.sleep(PAUSE_SECONDS)
