"""How a process writes its own log, to stderr: lines for people, or one JSON object a line (TRUNKLINE_LOG_FORMAT=json)."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from trunkline.errors import SpecError, did_you_mean
from trunkline.logs.context import FIELDS, with_context
from trunkline.logs.outlet import Outlet
from trunkline.logs.redaction import redacted

FORMAT, LEVEL = "TRUNKLINE_LOG_FORMAT", "TRUNKLINE_LOG_LEVEL"
FORMATS = ("text", "json")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
PRODUCT = "trunkline"
OTHERS_WITH_HANDLERS = ("distributed", "tornado", "bokeh")  # Dask gives them handlers of their own

_console: Outlet | None = None


def is_json() -> bool:
    """Whether logs are asked for as JSON lines. Raises SpecError for a format that is none."""
    return _choice(FORMAT, "text", FORMATS, str.lower) == "json"


def level_of(otherwise: int) -> int:
    """The level of trunkline's own loggers: TRUNKLINE_LOG_LEVEL, else INFO in JSON, else what is given. Raises SpecError."""
    said = _choice(LEVEL, "INFO", LEVELS, str.upper)
    if not os.environ.get(LEVEL) and not is_json():
        return otherwise
    return logging.getLevelNamesMapping()[said]


def configure(otherwise: int = logging.WARNING, *, text: bool = True) -> None:
    """Set up this process's log on stderr. Called again, it takes the place of what it set up before.

    Parameters
    ----------
    otherwise : level of trunkline's own loggers where the environment names none and the format is text.
    text : False leaves text to handlers that are there already.

    Raises
    ------
    SpecError : a format or level that is none.
    """
    global _console
    level, as_json = level_of(otherwise), is_json()
    root = logging.getLogger()
    if _console is not None:
        root.removeHandler(_console)
        _console = None
    logging.getLogger(PRODUCT).setLevel(level)
    if as_json:
        for handler in list(root.handlers):
            if _writes_to_terminal(handler):
                root.removeHandler(handler)
        logging.captureWarnings(True)
    for handler in [] if as_json or text else root.handlers:
        handler.addFilter(_tidy)  # a function that is there already is not added again
    if as_json or text:
        _console = Outlet(_Stderr(), _complete)
        _console.target.setFormatter(json_formatter() if as_json else _Text())
        root.addHandler(_console)
    adopt_others()


def adopt_others() -> None:
    """Where this process writes JSON, let libraries that bring handlers of their own write with it; call it when they were imported."""
    if _console is None or not is_json():
        return
    for name in list(logging.root.manager.loggerDict):
        if name.split(".", 1)[0] in OTHERS_WITH_HANDLERS:
            logger = logging.getLogger(name)
            for handler in list(logger.handlers):
                if _writes_to_terminal(handler):
                    logger.removeHandler(handler)
            logger.propagate = True


def json_formatter() -> logging.Formatter:
    """With timestamp (UTC, ISO 8601), level, logger, message, run, dataset, shard, worker, process; exception where there is one."""
    from pythonjsonlogger.json import JsonFormatter

    class Formatter(JsonFormatter):  # type: ignore[misc]
        def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
            log_data["timestamp"] = _when(record)
            super().add_fields(log_data, record, message_dict)
            for name in [name for name, value in log_data.items() if value is None]:
                del log_data[name]

    names = {"levelname": "level", "name": "logger", "process": "pid", "exc_info": "exception", "stack_info": "stack"}
    fields = ["levelname", "name", "message", *FIELDS, "worker", "process"]
    return Formatter(fields, rename_fields=names, reserved_attrs=_reserved(), json_ensure_ascii=False)


def _reserved() -> list[str]:
    """Attributes of a record that are not shown: Python's own, and those that only limiters and Prefect's handlers look at."""
    from pythonjsonlogger.core import RESERVED_ATTRS

    return [*RESERVED_ATTRS, "template", "held_back", "send_to_api"]


class _Text(logging.Formatter):
    """`2026-11-26T07:00:00.000Z WARNING message [run=… dataset=… shard=…]`."""

    def format(self, record: logging.LogRecord) -> str:
        known = [f"{name}={value}" for name in (*FIELDS, "worker") if (value := getattr(record, name, None))]
        lines = [f"{_when(record)} {record.levelname} {record.getMessage()}" + (f" [{' '.join(known)}]" if known else "")]
        return "\n".join([*lines, *filter(None, (record.exc_text, record.stack_info))])


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what is stderr at the moment: progress bars take its place while they are drawn."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class LinesAsRecords:
    """A text file each of whose lines becomes an INFO record; progress and notes go into it where stderr holds JSON."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self._logger.info(line.strip())
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""

    def isatty(self) -> bool:
        return False


def _tidy(record: logging.LogRecord) -> bool:
    """For handlers that are not ours: no secrets, and no counts of what was held back on a worker, which only an outlet can sum up."""
    text = record.getMessage()
    if (shown := redacted(text)) != text:
        record.msg, record.args = shown, None
    return not hasattr(record, "held_back")


def _complete(record: logging.LogRecord) -> bool:
    with_context(record)
    return True


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _writes_to_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)


def _choice(variable: str, usual: str, known: tuple[str, ...], form: Any) -> str:
    said: str = form(os.environ.get(variable) or usual)
    if said not in known:
        raise SpecError(f"{variable} is {said!r}, and there are: {', '.join(known)}.{did_you_mean(said, known)}")
    return said
