"""What a run shows in the UI while it works: a progress bar that moves, tables, links, and a name that says how much.

A server that does not answer must not end the work that it only watches, so whatever fails here is a warning.
"""

from __future__ import annotations

import contextvars
import queue
import threading
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
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from trunkline.progress import Step

SECONDS_BETWEEN_UPDATES = 2.0
SECONDS_TO_END = 10.0  # for the last step of a bar to reach the server
SECONDS_BETWEEN_LINES = 60.0  # a long run would fill Prefect's database with lines that say the same as the bar


class ProgressArtifact:
    """A progress bar in the UI, moved at most every two seconds; the log has a line a minute, and the last.

    A thread moves it, so that a server that is gone or slow does not hold up the work: of several steps in between only the last is
    shown. As a context manager it says so where the work was stopped, and waits a little for the last step to be shown.
    """

    def __init__(self, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._clock = key, clock
        self._artifact: UUID | None = None
        self._updated = self._logged = float("-inf")
        self._last: tuple[float, str] | None = None
        self._moving: threading.Thread | None = None
        self._steps: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()

    def __enter__(self) -> ProgressArtifact:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._last is not None:
            share, words = self._last
            self._show(share, f"{words}, and stopped there")
        if self._moving is not None:
            self._steps.put(None)
            self._moving.join(SECONDS_TO_END)

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
        self._show(share, words)

    def _show(self, share: float, words: str) -> None:
        if self._moving is None:
            where = contextvars.copy_context()  # of the run that the artifact belongs to
            self._moving = threading.Thread(target=where.run, args=(self._move,), name=f"bar-{self._key}", daemon=True)
            self._moving.start()
        self._steps.put((share, words))

    def _move(self) -> None:
        ends = False
        while not ends:
            steps = [self._steps.get()]
            while not self._steps.empty():
                steps.append(self._steps.get())
            ends = steps[-1] is None
            shown = [step for step in steps if step is not None]
            if shown:
                _tolerantly(lambda last=shown[-1]: self._publish(*last), "The progress artifact was not updated")

    def _publish(self, share: float, words: str) -> None:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # the next step is the next try
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
