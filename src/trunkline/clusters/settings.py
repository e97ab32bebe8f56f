"""Dask's settings for our kind of work: few tasks that take seconds, and workers whose memory is their own."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE
from trunkline.specs import ClusterSpec

GROW_WITHIN = "250ms"  # of work in flight, by which an adaptive cluster judges how many workers it needs


def for_few_long_tasks() -> Any:
    """A context in which clusters are started. By default Dask looks at its workers fifty to a hundred times a second."""
    import dask

    return dask.config.set(
        {
            "distributed.worker.profile.enabled": False,
            "distributed.worker.memory.monitor-interval": "1s",
            "distributed.admin.tick.interval": "500ms",
            "distributed.scheduler.worker-ttl": "2 minutes",  # a worker that is silent for so long is taken for dead
            "distributed.admin.system-monitor.interval": "5s",
            "distributed.admin.system-monitor.gil.enabled": False,
            # Dask's own 64 KiB gives the memory of each decoded image back to the system, which then has to clear it again
            "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 * 2**20,
            "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
        }
    )


def quiet_dask() -> None:
    """Only Dask's warnings, unless the user says otherwise in Dask's own way."""
    if "DASK_LOGGING__DISTRIBUTED" not in os.environ:
        logging.getLogger("distributed").setLevel(logging.WARNING)


def started(kind: Callable[..., Any], spec: ClusterSpec, most: int) -> Any:
    """A cluster of this machine's own processes, on the loopback interface; one that follows the work begins with the fewest workers."""
    first = spec.minimum or most
    with for_few_long_tasks():
        cluster = kind(
            n_workers=first,
            threads_per_worker=SHARDS_PER_WORKER_AT_ONCE,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        )
    if spec.is_adaptive:
        adapt(cluster, first, most)
    return cluster


def adapt(cluster: Any, minimum: int, maximum: int) -> None:
    """Let a cluster of this machine follow the work.

    Few calls are in flight at once, a small part of what is left to do. So the time in which Dask wants to be done with them is
    short: it adds workers as long as those that are there have enough.
    """
    cluster.adapt(minimum=minimum, maximum=maximum, target_duration=GROW_WITHIN)
