"""What the stages' tasks share: when to retry, how progress reaches the UI."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import State

from tasks.run_log import log_to_runs
from trunkline.errors import CorruptStore, GoldenMismatch, RunError, StorageError, TooManyBadImages, UserError
from trunkline.progress import Step

SECONDS_BETWEEN_UPDATES = 2.0
log_to_runs()

FINAL = (
    UserError,
    TooManyBadImages,
    StorageError,
    CorruptStore,
    GoldenMismatch,
)  # trying again changes nothing before a person does


def worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Infrastructure failures are retried; what a person has to mend is not."""
    try:
        state.result(raise_on_failure=True)
    except FINAL:
        return False
    except (RunError, OSError):
        return True
    except BaseException:
        return False
    return False


STAGE: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_condition_fn": worth_retrying,
    "cache_policy": NO_CACHE,  # a stage finds out by itself what is done: the store knows, Prefect does not
    "persist_result": False,
}


class ProgressArtifact:
    """A progress bar in the UI, moved at most every two seconds; each update is logged too."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._artifact: UUID | None = None
        self._updated = float("-inf")

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        ended = step.total is not None and step.done >= step.total
        if step.total is None or (not ended and now - self._updated < SECONDS_BETWEEN_UPDATES):
            return
        self._updated = now
        share = 100.0 * step.done / max(step.total, 1)
        words = f"{step.stage}: {step.done:,} of {step.total:,}" + (f" ({step.note})" if step.note else "")
        get_run_logger().info(words)
        try:
            self._publish(share, words)
        except Exception as error:  # a server that does not answer must not end the work it only watches
            get_run_logger().warning("The progress artifact was not updated: %s", error)

    def _publish(self, share: float, words: str) -> None:
        if self._artifact is None:
            made: Any = create_progress_artifact(share, key=self._key, description=words)
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, share, description=words)
