"""Training data made in memory: handwritten digits as classes, labels and numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from trunkline.fan_out import Executor, SerialExecutor
from trunkline.heads.folds import folds_of
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData

DATA = load_digits()
PIXELS, DIGITS = DATA.data.astype(np.float32), DATA.target.astype(np.int64)
TRAINING = 600
CLASSES = Target("classes", tuple("0123456789"))
LABELS = Target("multilabel", ("even", "large", "prime"))
VALUE = Target("regression", ("value",))


class Memory:
    """A reader of a matrix in memory, in shards of 64 rows."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def read(self, rows: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        return self.x[rows] if columns is None else self.x[rows][:, columns]

    def cut(self, rows: np.ndarray, most_bytes: int) -> list[tuple[int, int]]:
        shards = max(1, most_bytes // (64 * self.x.shape[1] * 4))
        edges = [*np.flatnonzero(np.diff(rows // (64 * shards), prepend=-1)).tolist(), len(rows)]
        return list(pairwise(edges))

    def __dask_tokenize__(self) -> object:
        return "memory", self.x.shape, float(self.x.sum())


def truth_as(target: Target, digits: np.ndarray) -> Any:
    """What the digits are to a target: their class; even, five or more, prime; or their size with a little of the ink."""
    if target.kind == "classes":
        return digits
    if target.kind == "multilabel":
        return np.stack([digits % 2 == 0, digits >= 5, np.isin(digits, (2, 3, 5, 7))], axis=1).astype(np.float32)
    return digits.astype(np.float64) * 10.0 + 100.0


def data_of(
    target: Target = CLASSES,
    rows: np.ndarray | None = None,
    executor: Executor | None = None,
    seed: int = 0,
    digits: np.ndarray | None = None,
) -> TrainingData:
    """Training data of these rows of the digits, the first `TRAINING` unless said."""
    rows = np.arange(TRAINING) if rows is None else rows
    truth = truth_as(target, (DIGITS if digits is None else digits)[rows])
    folds = folds_of(target, truth, 3, seed)
    return TrainingData(Memory(PIXELS), None, 64, rows, target, truth, folds, executor or SerialExecutor(threads=1))
