"""What a run shows in the UI while it works: a progress bar that moves, tables, links, and a name that says how much.

A server that does not answer must not end the work that it only watches, so whatever fails here is a warning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from prefect import get_run_logger, runtime
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client

from trunkline.progress import Step

SECONDS_BETWEEN_UPDATES = 2.0
SECONDS_BETWEEN_LINES = 60.0  # a long run would fill Prefect's database with lines that say the same as the bar


class ProgressArtifact:
    """A progress bar in the UI, moved at most every two seconds; the log has a line a minute, and the last.

    As a context manager it says so where the work was stopped.
    """

    def __init__(self, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._clock = key, clock
        self._artifact: UUID | None = None
        self._updated = self._logged = float("-inf")
        self._last: tuple[float, str] | None = None

    def __enter__(self) -> ProgressArtifact:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._last is not None:
            share, words = self._last
            _tolerantly(lambda: self._publish(share, f"{words}, and stopped there"), "The progress artifact was not updated")

    def __call__(self, step: Step) -> None:
        now = self._clock()
        ended = step.total is not None and step.done >= step.total
        if step.total is None or (not ended and now - self._updated < SECONDS_BETWEEN_UPDATES):
            return
        self._updated = now
        share = 100.0 * step.done / max(step.total, 1)
        words = f"{step.stage}: {step.done:,} of {step.total:,}" + (f" ({step.note})" if step.note else "")
        self._last = share, words
        if ended or now - self._logged >= SECONDS_BETWEEN_LINES:
            self._logged = now
            get_run_logger().info(words)
        _tolerantly(lambda: self._publish(share, words), "The progress artifact was not updated")

    def _publish(self, share: float, words: str) -> None:
        if self._artifact is None:
            made: Any = create_progress_artifact(share, key=self._key, description=words)
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, share, description=words)


def table(key: str, rows: Sequence[dict[str, Any]], description: str) -> None:
    """A table artifact; nothing where there are no rows."""
    if rows:
        _tolerantly(lambda: create_table_artifact(list(rows), key=key, description=description), _lost(key))


def markdown(key: str, text: str, description: str) -> None:
    _tolerantly(lambda: create_markdown_artifact(text, key=key, description=description), _lost(key))


def link(key: str, url: str, text: str, description: str) -> None:
    _tolerantly(lambda: create_link_artifact(url, link_text=text, key=key, description=description), _lost(key))


def rename_run(name: str) -> None:
    """Give this flow run another name, once more of it is known."""
    run = runtime.flow_run.id
    if run:
        _tolerantly(lambda: _rename(run, name), "The run was not renamed")


def _rename(run: str, name: str) -> None:
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(run), name=name)


def _tolerantly(publish: Callable[[], Any], otherwise: str) -> None:
    try:
        publish()
    except Exception as error:
        get_run_logger().warning("%s: %s", otherwise, error)


def _lost(key: str) -> str:
    return f"The artifact {key} was not published"
