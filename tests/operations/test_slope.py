"""Thirty runs in a row on one stack: processes, connections, open files and memory do not climb."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import psutil
import pytest

from infra.stack import processes
from infra.stack.folder import Folder
from tests.operations.conftest import Deployed, Place
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

RUNS, WARM = 30, 10
MOST_GROWTH_MIB = 40.0  # of the whole stack, from the median of the middle ten runs to that of the last ten


def test_thirty_runs_leave_no_slope(in_stack: Deployed, place: Place) -> None:
    seen: list[Mapping[str, float]] = []
    for _ in range(RUNS):
        in_stack.server.completed(in_stack.server.start("pipeline", spec=place.spec))
        seen.append(measured(in_stack.stack))
    middle, last = seen[WARM : WARM + 10], seen[-10:]
    for name in seen[0]:
        early, late = (median(each[name] for each in some) for some in (middle, last))
        sys.stdout.write(f"| {name} | {seen[0][name]:,.0f} | {early:,.0f} | {late:,.0f} |\n")
        if name == "memory, MiB":
            assert late - early <= MOST_GROWTH_MIB
        elif name in ("processes", "connections", "metrics files"):
            assert late <= early
        elif name == "open files":
            assert late - early <= 10


def measured(stack: Stack) -> dict[str, float]:
    """Of all processes of the stack; memory is private (USS), connections are PostgreSQL's own processes for its clients."""
    found = [psutil.Process(each.pid) for each in processes.marked(Folder(stack.folder).settings().stack_id)]
    figures = [figures for each in found if (figures := _of(each))]
    folder = Path(stack.environment["TRUNKLINE_METRICS_DIR"])
    return {
        "processes": len(figures),
        "open files": sum(files for files, _ in figures),
        "memory, MiB": sum(memory for _, memory in figures) / 2**20,
        "connections": len(psutil.Process(stack.pid("postgres")).children()),
        "metrics files": sum(path.is_file() for path in folder.rglob("*")),
    }


def _of(process: psutil.Process) -> tuple[int, int] | None:
    """Open files and private memory; None of one that has just ended."""
    try:
        return process.num_fds(), process.memory_full_info().uss
    except psutil.NoSuchProcess:
        return None
