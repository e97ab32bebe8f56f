"""Run one job in a fresh process and watch its memory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tests.benchmarks.job import Job, Timing, write

ROOT = Path(__file__).parents[2]
SECONDS_BETWEEN_LOOKS = 0.25
DEADLINE_SECONDS = 3600.0
MIB = 2**20


@dataclass(frozen=True)
class Measured:
    """A job's outcome; `failed` holds the end of what it printed where there is no timing.

    `peak_mib` is the largest sum of resident memory over the process and all its descendants, looked at four times a second; memory
    that they share counts in each. `largest_process_mib` is the high-water mark of the largest one, by the kernel's own count.
    """

    path: str
    network: str
    repeat: int
    timing: Timing | None
    failed: str
    peak_mib: float
    largest_process_mib: float

    @property
    def rate(self) -> float:
        """Images per second, steady."""
        return self.timing.images / self.timing.steady_seconds if self.timing else float("nan")

    @property
    def whole_rate(self) -> float:
        return self.timing.images / self.timing.whole_seconds if self.timing else float("nan")


def measure(job: Job, repeat: int, scratch: Path) -> Measured:
    """Run a job; its working folder is fresh and gone afterwards."""
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
        work, said, log = Path(folder, "work"), Path(folder, "timing.json"), Path(folder, "log")
        work.mkdir()
        job = replace(job, work=str(work))
        write(job, Path(folder, "job.json"))
        command = [sys.executable, "-m", "tests.benchmarks.child", f"{folder}/job.json", str(said)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *_given_python_path()])}
        with log.open("wb") as output:
            child = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                peak, largest = _watch(child)
            finally:
                _end_group(child.pid)
                child.wait()
        timing = Timing(**json.loads(said.read_text())) if said.exists() and child.returncode == 0 else None
        failed = "" if timing else f"exit status {child.returncode}: {log.read_text(errors='replace').strip()[-1500:]}"
    return Measured(job.path, job.network, repeat, timing, failed, peak, largest)


def _watch(child: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Peak of the tree and of its largest process in MiB, once it has ended or is over its deadline."""
    peak = largest = waited = 0.0
    tree = psutil.Process(child.pid)
    while waited < DEADLINE_SECONDS:
        with suppress(subprocess.TimeoutExpired):
            child.wait(SECONDS_BETWEEN_LOOKS)
            break
        waited += SECONDS_BETWEEN_LOOKS
        with suppress(psutil.NoSuchProcess):
            processes = [tree, *tree.children(recursive=True)]
            peak = max(peak, sum(_resident(process) for process in processes))
            largest = max(largest, *(_high_water(process.pid) for process in processes))
    return peak / MIB, largest / MIB


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0.0


def _high_water(pid: int) -> float:
    """Bytes; 0 where the process has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return 1024.0 * int(found[1]) if found else 0.0


def _end_group(pid: int) -> None:
    """Whatever the child left behind: servers, workers."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _given_python_path() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
