"""What every head does: it is fitted on masked features, gives outputs for rows, and is saved without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.fan_out import Executor
from trunkline.progress import Progress, silent

Features = NDArray[np.float32]


class FittedHead(Protocol):
    """A fitted head over (n, kept) float32 features, as they lie in the store: what it standardises, it standardises itself."""

    @property
    def chosen(self) -> Mapping[str, str]:
        """What cross-validation or the spec decided, ready to print."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader must know: rows left out to fit into memory, a fit that did not converge."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """The grid, where one was cross-validated."""

    def outputs(self, features: Features) -> NDArray[np.float64]:
        """(n, kept) → (n, k): probabilities of classes, rows sum to 1; a probability a label; or values, k = 1."""

    def files(self) -> dict[str, bytes]:
        """File name → content; no pickle. `catalogue.load_head` reads them back."""


@dataclass(frozen=True)
class Scores:
    """How a candidate did on one held-out fold; `score` is the headline: macro-F1, or R² of a regression; higher is better."""

    score: float
    loss: float
    temperature: float = 1.0  # what scores without a scale of their own are multiplied by


@dataclass(frozen=True)
class Candidate:
    """One candidate of a grid: its settings, ready to print; mean and standard deviation of its score over the folds."""

    settings: Mapping[str, str]
    score: float
    spread: float
    chosen: bool = False


class ScoreLog(Protocol):
    """Scores of candidates that outlive the process: a sweep that was killed goes on from here."""

    def get(self, key: str) -> Scores | None:
        """What was kept under this key."""

    def put(self, key: str, scores: Scores) -> None:
        """Keep it."""


@dataclass
class Forgetful:
    """A log in memory alone."""

    scores: dict[str, Scores] = field(default_factory=dict)

    def get(self, key: str) -> Scores | None:
        return self.scores.get(key)

    def put(self, key: str, scores: Scores) -> None:
        self.scores[key] = scores


@dataclass(frozen=True)
class Work:
    """How a head may use the machine.

    Parameters
    ----------
    executor : where blocks of rows and candidates are worked on: the serial loop in this process, or Dask workers.
    seed : of folds, forests, weights, samples.
    log : finished candidates.
    memory : bytes of training features that one process may hold for heads that need them all at once.
    """

    executor: Executor
    seed: int = 0
    log: ScoreLog = field(default_factory=Forgetful)
    memory: int = 1 << 30
    progress: Progress = silent
