"""Worker processes on this machine."""

from __future__ import annotations

import logging
import os
from typing import Any

from trunkline.clusters.settings import quiet_dask, started
from trunkline.errors import RunError
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
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            return started(LocalCluster, spec, most)
        except RuntimeError as error:  # one worker that dies while it starts ends the whole cluster
            failed = error
            log.warning("Workers died while they started (attempt %d of %d)", attempt, START_ATTEMPTS)
    raise RunError(
        f"{spec.minimum or most} workers could not be started in {START_ATTEMPTS} attempts ({failed.__cause__ or failed}): was memory "
        "short? Start the same command again, with fewer workers or --cluster inline."
    ) from failed
