"""What a head predicts: classes, several labels at once, or a number; from the labels of rows to truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError
from trunkline.specs import TargetKind, TargetSpec

Truth = NDArray[Any]


@dataclass(frozen=True)
class Target:
    """What the outputs of a head mean.

    Parameters
    ----------
    kind : classes (outputs are probabilities that sum to 1), multilabel (a probability a label), or regression (one value).
    names : the classes or labels, sorted; `("value",)` of a regression.
    """

    kind: TargetKind
    names: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """k, the width of what a head gives for a row."""
        return len(self.names)

    def one_hot(self, truth: Truth) -> NDArray[np.float32]:
        """(n, k) float32: indicators of classes and labels; the values of a regression."""
        if self.kind != "classes":
            return np.asarray(truth, np.float32).reshape(len(truth), self.outputs)
        out = np.zeros((len(truth), self.outputs), np.float32)
        out[np.arange(len(truth)), truth] = 1.0
        return out

    def balance(self, truth: Truth) -> NDArray[np.float32] | None:
        """Weights by which all classes count the same, n / (k · rows of the class).

        Returns
        -------
        (k,) of a row by its class; (2, k) of a label's absence and presence; None of a regression.
        """
        if self.kind == "regression":
            return None
        if self.kind == "classes":
            return _inverse(np.bincount(truth, minlength=self.outputs)[None, :].T, len(truth))[:, 0]
        present = truth.sum(axis=0)
        return _inverse(np.stack([len(truth) - present, present]).T, len(truth)).T


def _inverse(counts: NDArray[np.floating | np.integer], rows: int) -> NDArray[np.float32]:
    """(k, c) counts → weights; over classes down a column (c = 1), over values along a row (c = 2)."""
    kinds = counts.shape[1] if counts.shape[1] > 1 else max(int((counts > 0).sum()), 1)
    return np.where(counts > 0, rows / (kinds * np.maximum(counts, 1)), 0.0).astype(np.float32)


def target_of(spec: TargetSpec, labels: Sequence[str]) -> Target:
    """The target that the distinct labels of the training rows make."""
    if spec.kind == "regression":
        return Target("regression", ("value",))
    if spec.kind == "multilabel":
        return Target("multilabel", tuple(sorted({part for label in labels for part in _parts(label, spec.separator)})))
    return Target("classes", tuple(sorted(labels)))


def truth_of(
    target: Target, spec: TargetSpec, codes: NDArray[np.integer], names: Sequence[str]
) -> tuple[Truth, NDArray[np.bool_]]:
    """Truth of rows whose labels are `names[codes]`, and which of them are known to the target.

    Parameters
    ----------
    codes : (n,) places in `names`, all of them ≥ 0.

    Returns
    -------
    truth : (n,) int64 class numbers; (n, k) float32 indicators of labels; or (n,) float64 values.
    known : (n,) False where a label is none of the target's: such rows have no place in its metrics.

    Raises
    ------
    DataError : a label of a regression that is no finite number.
    """
    match target.kind:
        case "classes":
            numbers = {name: number for number, name in enumerate(target.names)}
            places = np.array([numbers.get(name, -1) for name in names] or [-1], np.int64)[codes]
            return places, places >= 0
        case "multilabel":
            numbers = {name: number for number, name in enumerate(target.names)}
            table, known = np.zeros((len(names), target.outputs), np.float32), np.ones(len(names), bool)
            for row, name in enumerate(names):
                places = [numbers.get(part, -1) for part in _parts(name, spec.separator)]
                known[row] = -1 not in places
                table[row, [place for place in places if place >= 0]] = 1.0
            return table[codes], known[codes]
        case "regression":
            values = np.array([_number(name) for name in names], np.float64)
            return values[codes], np.ones(len(codes), bool)


def _parts(label: str, separator: str) -> list[str]:
    return [part.strip() for part in label.split(separator) if part.strip()]


def _number(label: str) -> float:
    try:
        value = float(label)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(
            f"target.kind is regression, and the label {label!r} is no finite number. "
            "Correct the column of labels, or use target.kind classes."
        )
    return value
