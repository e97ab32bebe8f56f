"""Questions to the Prefect server that outlast its restart: a run that only watches others must not end because nobody answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import httpx
from prefect import get_run_logger
from prefect.exceptions import PrefectHTTPStatusError

PATIENCE_SECONDS = 900.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
FAULTY = 500  # and above: the server's own fault

Answer = TypeVar("Answer")


def asked(question: Callable[[], Answer], patience: float = PATIENCE_SECONDS) -> Answer:
    """The answer, asked for again with growing pauses while the server does not give one. What it answers, refusals too, is passed on."""
    deadline, pause = time.monotonic() + patience, FIRST_PAUSE
    while True:
        try:
            return question()
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            if isinstance(error, PrefectHTTPStatusError) and error.response.status_code < FAULTY:
                raise
            if time.monotonic() + pause > deadline:
                raise
            get_run_logger().warning("The Prefect server gives no answer (%s); asking again in %.0f s", error, pause)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
