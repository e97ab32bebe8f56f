"""What each epoch of a fine-tuning did, and when a fit has diverged."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from trunkline.errors import DataError

Phase = Literal["head", "layers"]
PHASES: dict[Phase, str] = {"head": "the new head", "layers": "the last layers"}
RATES: dict[Phase, str] = {"head": "head-rate", "layers": "rate"}

WINDOW, FEWEST = 20, 3  # last steps whose median loss is looked at; so many at least
TOO_FAR = 3.0  # times the loss of the first step, or that of a guess


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Parameters
    ----------
    phase, epoch : `head` or `layers`, and the epoch's number in it from 1.
    loss : mean over the training steps.
    val_loss, val_accuracy, val_macro_f1 : on the validation images, as they are.
    rate : the learning rate of its last step.
    seconds, images_per_second : of the training steps and the validation, and of the steps alone.
    """

    phase: Phase
    epoch: int
    loss: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    rate: float
    seconds: float
    images_per_second: float

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: macro-F1, of equal ones the lower loss."""
        return self.val_macro_f1, -self.val_loss


def best_of(history: Sequence[Epoch]) -> Epoch:
    """The best epoch, of equal ones the first."""
    return max(history, key=lambda each: each.rank)


def has_stalled(history: Sequence[Epoch], phase: Phase, patience: int) -> bool:
    """Whether so many epochs of the phase passed since its best one. Phases before do not count: the first steps may cost what they won."""
    own = [each for each in history if each.phase == phase]
    return bool(own) and own[-1].epoch - best_of(own).epoch >= patience


@dataclass
class DivergenceCheck:
    """Watches the loss of each step of a phase; `guess` is the loss of one who knows nothing, the logarithm of the number of classes."""

    phase: Phase
    rate: float
    guess: float
    kept: str = ""
    _start: float | None = None
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def __call__(self, epoch: int, loss: float) -> None:
        """Raises DataError where the loss is no number, or far above where it started."""
        if not math.isfinite(loss):
            raise self._diverged(epoch, "is no number any more")
        if self._start is None:
            self._start = max(loss, self.guess)
        self._last.append(loss)
        now = statistics.median(self._last)
        if len(self._last) >= FEWEST and now > TOO_FAR * self._start:
            raise self._diverged(epoch, f"rose to {now:.3g}, and it began at {self._start:.3g} or below")

    def _diverged(self, epoch: int, how: str) -> DataError:
        option = RATES[self.phase]
        kept = (
            f"The last good checkpoint is kept ({self.kept})."
            if self.kept
            else "No epoch was finished, so there is no checkpoint."
        )
        return DataError(
            f"Training {PHASES[self.phase]} diverged in epoch {epoch} with a learning rate of {self.rate:g}: its loss {how}. {kept} "
            f"Start it again with a lower one, for example --{option} {self.rate / 10:g}."
        )
