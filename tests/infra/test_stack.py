"""A real stack: all healthy, usable by its environment file, repaired service by service, and gone afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.stack import Stack

pytestmark = pytest.mark.slow


def run(stack: Stack, *words: str) -> str:
    done = subprocess.run(words, env=stack.processes_environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_prefect_has_the_work_pool_and_its_queues(stack: Stack) -> None:
    script = """
import asyncio
from prefect.client.orchestration import get_client
async def main():
    async with get_client() as client:
        pool = await client.read_work_pool("trunkline")
        print(pool.type, pool.status.value, pool.base_job_template["variables"]["properties"]["working_dir"]["default"])
        for queue in await client.read_work_queues(work_pool_name="trunkline"):
            print(queue.name, queue.priority)
asyncio.run(main())
"""
    pool, *queues = run(stack, sys.executable, "-c", script).splitlines()
    assert pool.split()[:2] == ["process", "READY"]
    assert sorted(queues) == ["backfill 10", "default 5", "nightly 1"]
