"""`python -m infra.work_pool`: the work pool and its queues. A pool that is there keeps its settings, queues get these priorities.

Flow runs start in the folder this is run in: the checkout, or /app in the image.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

POOL = "trunkline"
QUEUES = {"nightly": 1, "default": 5, "backfill": 10}  # a lower number goes first


def base_job_template(folder: Path) -> dict[str, Any]:
    """What a flow run of this pool is made of: Prefect's process template, in a folder of ours."""
    template = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["working_dir"]["default"] = str(folder)
    return template


async def prepare(client: PrefectClient, folder: Path) -> None:
    """Create the pool where it is missing, then its queues."""
    pool = WorkPoolCreate(
        name=POOL,
        type=ProcessWorker.type,
        base_job_template=base_job_template(folder),
        description="Runs trunkline's flows, a process each; Dask workers do the work.",
    )
    with contextlib.suppress(ObjectAlreadyExists):
        await client.create_work_pool(pool)
    there = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=POOL)}
    for name, priority in sorted(QUEUES.items(), key=lambda item: -item[1]):  # the last ones first: a taken number moves others
        if name not in there:
            await client.create_work_queue(name=name, priority=priority, work_pool_name=POOL)
        elif there[name].priority != priority:
            await client.update_work_queue(there[name].id, priority=priority)


async def main() -> None:
    """Prepare the pool of the server that PREFECT_API_URL names."""
    async with get_client() as client:
        await prepare(client, Path.cwd())


if __name__ == "__main__":
    asyncio.run(main())
