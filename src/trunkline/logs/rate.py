"""A bearable rate: of the records that one place in the code logs, so many a minute; then one record says how many more there were.

The place stands for the message's template: it is the same for messages that were put together before they were logged.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MOST = 20
SECONDS = 60.0

Place = tuple[object, ...]


@dataclass
class _Window:
    """A minute of one place, from its first record on."""

    since: float
    passed: int = 0
    held_back: int = 0
    last: logging.LogRecord | None = None


class Limiter:
    """Decides which records go on; not thread-safe.

    Parameters
    ----------
    most : records of one place in `seconds`; DEBUG is not counted, as who asked for it wants it whole.
    clock : seconds that never go back.
    """

    def __init__(self, most: int = MOST, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._windows: dict[Place, _Window] = {}

    @property
    def holds_back(self) -> bool:
        """Whether there are records that no summary has told of yet."""
        return any(window.held_back for window in self._windows.values())

    def admit(self, record: logging.LogRecord) -> list[logging.LogRecord]:
        """What goes on now: summaries of minutes that are over, and the record itself unless it is one too many.

        A summary that another limiter made (on a worker) is added to what is held back here.
        """
        ready = self.due()
        if record.levelno <= logging.DEBUG:
            return [*ready, record]
        window = self._windows.setdefault(_place(record), _Window(self._clock()))
        more = getattr(record, "held_back", 0)
        if more or window.passed >= self._most:
            window.held_back += more or 1
            window.last = record
            return ready
        window.passed += 1
        return [*ready, record]

    def due(self) -> list[logging.LogRecord]:
        """Summaries of minutes that are over."""
        now = self._clock()
        over = [place for place, window in self._windows.items() if now - window.since >= self._seconds]
        return list(_summaries([self._windows.pop(place) for place in over]))

    def flush(self) -> list[logging.LogRecord]:
        """Summaries of all that is held back; the minutes go on."""
        return list(_summaries(list(self._windows.values())))


def _summaries(windows: list[_Window]) -> Iterator[logging.LogRecord]:
    for window in windows:
        if window.last is not None:
            yield _summary(window.last, window.held_back)
        window.held_back, window.last = 0, None


def _summary(last: logging.LogRecord, count: int) -> logging.LogRecord:
    record = copy.copy(last)
    record.__dict__.pop("shard", None)
    record.held_back = count
    record.template = template = _template(last)
    record.msg, record.args = "%s more like: %s", (f"{count:,}", template)
    record.exc_info = record.exc_text = record.stack_info = None
    return record


def _template(record: logging.LogRecord) -> str:
    """The message before its values were put in; of a record that came from a worker it travelled along."""
    return str(getattr(record, "template", record.msg))


def _place(record: logging.LogRecord) -> Place:
    """Where it was logged, for which run and task."""
    whose = tuple(getattr(record, name, None) for name in ("run", "task_run_id", "flow_run_id"))
    return (record.name, record.pathname, record.lineno, *whose)
