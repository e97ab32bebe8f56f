"""Records of Dask workers arrive in the process that started the run, and only in that one.

Dask's own `Client.forward_logging` loses the message's template, knows no rate, and gives every client of a scheduler the
records of all. So this is its plugin with another handler: an outlet on the worker, and a receiver that looks at the run.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Mapping
from typing import Any

from distributed.diagnostics.plugin import ForwardLoggingPlugin, WorkerPlugin

from trunkline.logs.context import current, with_context
from trunkline.logs.outlet import Outlet
from trunkline.logs.setup import adopt_others, is_json, json_formatter

PRODUCT, DASK = "trunkline", "distributed"
TOPIC = "trunkline-log-records"

log = logging.getLogger(__name__)


def follow_workers(client: Any) -> None:
    """Handle here what workers of this client's scheduler log about this run: `trunkline` from its level here on, Dask from WARNING on.

    They are handled in the context of the caller, so that a handler finds there what it would find in the caller itself.
    """
    adopt_others()
    level = max(logging.INFO, logging.getLogger(PRODUCT).getEffectiveLevel())
    try:
        client.subscribe_topic(TOPIC, _receiver(contextvars.copy_context(), current().get("run")))
        client.register_plugin(Forwarding(level), "trunkline-logs")
    except Exception as error:  # a run that cannot be watched is still a run
        log.warning("What workers log does not arrive here, look at their own logs: %s", error)


class Forwarding(WorkerPlugin):  # type: ignore[misc]
    """Sends a worker's records to the scheduler's topic; Dask removes it from a worker before it is set up there again."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._parts: list[ForwardLoggingPlugin] = []

    def setup(self, worker: Any) -> None:
        logging.getLogger(PRODUCT).setLevel(self.level)
        dask = logging.getLogger(DASK)
        for handler in dask.handlers:
            handler.setLevel(max(handler.level, dask.level))  # what was silent on the worker's own stderr stays so
            if is_json():
                handler.setFormatter(json_formatter())
        dask.setLevel(min(dask.level, logging.WARNING) or logging.WARNING)
        self._parts = [_Part(PRODUCT, self.level, TOPIC), _Part(DASK, logging.WARNING, TOPIC)]
        for part in self._parts:
            part.setup(worker)

    def teardown(self, worker: Any) -> None:
        for part in self._parts:
            part.teardown(worker)
        self._parts = []


class _Part(ForwardLoggingPlugin):  # type: ignore[misc]
    """Dask's plugin, with an outlet before its handler."""

    handler: Any

    def setup(self, worker: Any) -> None:
        super().setup(worker)
        logger = logging.getLogger(self.logger_name)
        logger.removeHandler(self.handler)
        self.handler = _ToScheduler(self.handler, _plain, level=self.level, hands_over=True)
        logger.addHandler(self.handler)


class _ToScheduler(Outlet):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A worker that is being closed has nobody left to send a record to."""


def _plain(record: logging.LogRecord) -> bool:
    """Only what Dask can send: the record's own attributes, and those that are text or numbers."""
    with_context(record)
    for name, value in list(vars(record).items()):
        if name not in ("msg", "args", "exc_info") and not isinstance(value, str | int | float | None):
            del record.__dict__[name]
    return True


def _receiver(context: contextvars.Context, run: str | None) -> Callable[[tuple[Any, Mapping[str, Any]]], None]:
    def receive(event: tuple[Any, Mapping[str, Any]]) -> None:
        record = logging.makeLogRecord(dict(event[1]))
        if run is not None and getattr(record, "run", run) != run:
            return  # of another run on the same scheduler
        context.run(logging.getLogger(record.name).handle, record)

    return receive
