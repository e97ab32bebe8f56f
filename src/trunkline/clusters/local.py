"""Worker processes on this machine."""

from __future__ import annotations

import logging
import os
from typing import Any

from trunkline.clusters.settings import adapt, for_few_long_tasks, quiet_dask
from trunkline.errors import RunError
from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE
from trunkline.specs import ClusterSpec

START_ATTEMPTS = 3

log = logging.getLogger(__name__)


def most_workers(spec: ClusterSpec) -> int:
    """As many as the spec says, else one a core."""
    return spec.workers or max(len(os.sched_getaffinity(0)), spec.minimum or 1)


def local_cluster(spec: ClusterSpec) -> Any:
    """A LocalCluster. Raises RunError where its workers die while they start."""
    from distributed import LocalCluster

    quiet_dask()
    most = most_workers(spec)
    first = spec.minimum or most
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            with for_few_long_tasks():
                cluster = LocalCluster(
                    n_workers=first,
                    threads_per_worker=SHARDS_PER_WORKER_AT_ONCE,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.ERROR,
                )
            if spec.is_adaptive:
                adapt(cluster, first, most)
            return cluster
        except RuntimeError as error:  # one worker that dies while it starts ends the whole cluster
            failed = error
            log.warning("Workers died while they started (attempt %d of %d)", attempt, START_ATTEMPTS)
    raise RunError(
        f"{first} workers could not be started in {START_ATTEMPTS} attempts ({failed.__cause__ or failed}): was memory short? Start the "
        "same command again, with fewer workers or --cluster inline."
    ) from failed
