"""The same extraction as the Prefect flow on a Dask cluster, to set against `ours.run(kind="inline")`, a loop in one process."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.benchmarks.job import Job, Timing
from tests.benchmarks.paths.ours import refuse_compilation, spec_of, with_backbone

PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_LEVEL": "WARNING",
}


def prefect_and_dask(job: Job) -> Timing:
    """The whole flow with a temporary server and one worker a core.

    Counted as whole: the flow's extract stage, so that it compares with a loop that has neither heads nor a report. Counted as
    steady: from the first read to the last commit. The flow from its start, server included, stands in the notes.
    """
    os.environ.update(PREFECT, PREFECT_HOME=str(Path(job.work, "prefect")))
    os.environ.pop("PREFECT_API_URL", None)
    from flows.pipeline import pipeline  # Prefect reads its settings when it is imported

    spec = spec_of(job).model_copy(update={"labels": "none"})  # without labels the flow fits no heads
    before = with_backbone(job, "f32")
    started = time.perf_counter()
    summary = pipeline(spec).summary()
    ended = time.perf_counter()
    refuse_compilation(job, before)
    if summary["ok"] != job.count:
        raise RuntimeError(f"{summary['ok']} of {job.count} images are ok: {summary['reasons']}")
    return Timing(
        images=summary["ok"],
        whole_seconds=summary["seconds"]["scan"] + summary["seconds"]["extract"],
        steady_seconds=summary["extracted"] / summary["images_per_second"],
        notes={"flow_seconds": ended - started, "stages": summary["seconds"]},
    )
