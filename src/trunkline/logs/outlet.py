"""The way by which records leave: with what they are about, at a bearable rate, without secrets, to any other handler."""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
import weakref
from collections.abc import Callable

from trunkline.logs.rate import SECONDS, Limiter
from trunkline.logs.redaction import redact, redacted

_FORMATTER = logging.Formatter()
_outlets: weakref.WeakSet[Outlet] = weakref.WeakSet()


class Outlet(logging.Handler):
    """Hands records on to `target`.

    Parameters
    ----------
    target : writes or sends them.
    complete : puts into a record what holds where it is logged; False where it does not belong here.
    hands_over : what is held back is told after each task, to a process that counts on with a limiter of its own.
    """

    def __init__(
        self,
        target: logging.Handler,
        complete: Callable[[logging.LogRecord], bool],
        limiter: Limiter | None = None,
        *,
        level: int = logging.NOTSET,
        hands_over: bool = False,
    ) -> None:
        super().__init__(level)
        self.target, self.hands_over = target, hands_over
        self._complete, self._limiter = complete, limiter or Limiter()
        self._timer: threading.Timer | None = None
        _outlets.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        mine = copy.copy(record)  # other handlers get the record as it was
        if not self._complete(mine):
            return
        for each in self._limiter.admit(mine):
            self._send(each)
        if self._limiter.holds_back and self._timer is None:
            self._timer = threading.Timer(SECONDS, self._tell_after_a_while)
            self._timer.daemon = True
            self._timer.start()

    def tell(self) -> None:
        """Say now how many records are held back."""
        with self._locked():
            for each in self._limiter.flush():
                self._send(each)

    def flush(self) -> None:
        self.tell()
        self.target.flush()

    def close(self) -> None:
        with self._locked():
            if self._timer is not None:
                self._timer.cancel()
        self.target.close()
        super().close()

    def _tell_after_a_while(self) -> None:
        with self._locked():
            self._timer = None
            self.tell()

    def _send(self, record: logging.LogRecord) -> None:
        try:
            if not hasattr(record, "template"):
                record.template = redacted(str(record.msg))
            redact(record, _FORMATTER)
            self.target.handle(record)
        except Exception:
            self.handleError(record)

    def _locked(self) -> contextlib.AbstractContextManager[object]:
        return self.lock or contextlib.nullcontext()


def tell() -> None:
    """Say how many records are held back in this process, at the end of a stage."""
    _tell(hands_over=False)


def hand_over() -> None:
    """Say it to the receivers that count on, at the end of a task on a worker."""
    _tell(hands_over=True)


def _tell(*, hands_over: bool) -> None:
    for outlet in list(_outlets):
        if outlet.hands_over == hands_over:
            outlet.tell()
