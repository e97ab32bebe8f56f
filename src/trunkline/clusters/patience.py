"""Waiting for something elsewhere: again and again, at growing distances, said aloud, and not for ever."""

from __future__ import annotations

import logging
import time

from trunkline.progress import Progress, Step

LONGEST_PAUSE = 15.0

log = logging.getLogger(__name__)


class Patience:
    """The time there is for a wait, and how it is spent: attempts of 1, 2, 4 … up to 15 seconds."""

    def __init__(self, seconds: float, progress: Progress) -> None:
        self.seconds = seconds
        self.attempts = 0
        self._progress = progress
        self._started = time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        return self.seconds - self.spent

    @property
    def tried(self) -> str:
        """How often, and for how long: `3 times in 7 s`."""
        return f"{'once' if self.attempts == 1 else f'{self.attempts} times'} in {self.spent:.0f} s"

    def next_attempt(self) -> float:
        """Seconds that the attempt which begins now may take; the very first one has a second, however short the patience."""
        pause = min(LONGEST_PAUSE, 2.0**self.attempts, max(self.left, 0.0))
        self.attempts += 1
        return pause if self.attempts > 1 else max(pause, 1.0)

    def say(self, words: str) -> None:
        """What is waited for, and for how long still."""
        said = f"{words}; {self.spent:.0f} s of {self.seconds:.0f} s"
        self._progress(Step("cluster", 0, None, said))
        log.warning("%s", said)
