"""From outputs of a head to metrics of its kind, and from JSON back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError
from trunkline.metrics.classes import Metrics, log_loss, top_accuracy
from trunkline.metrics.multilabel import MultilabelMetrics
from trunkline.metrics.parts import Reliability
from trunkline.metrics.regression import RegressionMetrics
from trunkline.metrics.said import mapping_of

AnyMetrics = Metrics | MultilabelMetrics | RegressionMetrics
_KINDS: dict[str, type[AnyMetrics]] = {each.targets: each for each in (Metrics, MultilabelMetrics, RegressionMetrics)}


def measure(kind: str, truth: NDArray[Any], outputs: NDArray[np.float64], k: int, seed: int = 0) -> AnyMetrics:
    """How well outputs of a head match the truth of a split.

    Parameters
    ----------
    kind : str
        Of the target: `classes`, `multilabel` or `regression`.
    truth : array
        classes: (n,) class numbers; multilabel: (n, k) of 0 and 1; regression: (n,) or (n, 1) values.
    outputs : (n, k) float64
        classes: probabilities that sum to 1 in each row; multilabel: independent probabilities; regression: values, k = 1.
    k : int
        Number of classes or labels; 1 for a regression.
    seed : int
        Of the resamples behind the intervals.

    Raises
    ------
    ValueError : an unknown kind, or arrays of other shapes.
    DataError : no row, or outputs or truth that are not finite.
    """
    if kind not in _KINDS:
        raise ValueError(f"There is no target of kind {kind!r}; there are {', '.join(_KINDS)}.")
    truth, outputs = np.asarray(truth), np.asarray(outputs, np.float64)
    if kind == "regression" and truth.ndim == 2:
        truth = truth[:, 0] if truth.shape[1] == 1 else truth
    _refuse_other_shapes(kind, truth, outputs, k)
    _refuse_odd_values(kind, truth, outputs)
    if kind == "classes":
        return _of_classes(truth.astype(np.int64), outputs, seed)
    if kind == "multilabel":
        return MultilabelMetrics.of(truth, outputs, seed)
    return RegressionMetrics.of(truth.astype(np.float64), outputs[:, 0], seed)


def metrics_of_json(said: Any) -> AnyMetrics:
    """From what `to_json` gave; without a kind it is a classifier's. Raises KeyError or ValueError where something is missing or odd."""
    said = mapping_of(said, "metrics")
    kind = said.get("targets", Metrics.targets)
    if kind not in list(_KINDS):
        raise ValueError(f"targets is {kind!r}, and not {', '.join(_KINDS)}")
    return _KINDS[kind].of_json(said)


def _of_classes(truth: NDArray[np.int64], outputs: NDArray[np.float64], seed: int) -> Metrics:
    predicted = outputs.argmax(axis=1)
    reliability = Reliability.of(outputs.max(axis=1), predicted == truth)
    return replace(
        Metrics.of(truth, predicted, outputs.shape[1], seed),
        top5=top_accuracy(truth, outputs),
        log_loss=log_loss(truth, outputs),
        ece=reliability.ece,
        reliability=reliability,
    )


def _refuse_other_shapes(kind: str, truth: NDArray[Any], outputs: NDArray[np.float64], k: int) -> None:
    rows = len(truth)
    wanted = (rows, k) if kind == "multilabel" else (rows,)
    if outputs.shape != (rows, k) or truth.shape != wanted or (kind == "regression" and k != 1):
        raise ValueError(f"Truth of {truth.shape} and outputs of {outputs.shape} are not those of a {kind} target of {k}.")


def _refuse_odd_values(kind: str, truth: NDArray[Any], outputs: NDArray[np.float64]) -> None:
    if not len(truth):
        raise DataError("There is no row to measure a head on. Give the test split labelled images.")
    if not np.isfinite(outputs).all():
        raise DataError(
            "A head gave NaN or infinity for some rows, so it cannot be measured: a feature holds such a value, or the fit diverged. "
            "Run `trunkline verify`, or fit with more regularisation."
        )
    if kind == "classes" and not (truth.min() >= 0 and truth.max() < outputs.shape[1]):
        raise ValueError(f"Class numbers from {truth.min()} to {truth.max()} are not those of {outputs.shape[1]} classes.")
    if kind == "multilabel" and not np.isin(truth, (0, 1)).all():
        raise ValueError("The truth of labels is 0 or 1 and nothing else.")
    if kind == "regression" and not np.isfinite(truth).all():
        raise DataError("The truth holds NaN or infinity. Leave these rows out, or give them a value.")
