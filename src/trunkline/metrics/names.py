"""What the figures of metrics are called, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Mapping

NAMES: Mapping[str, str] = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "weighted_f1": "weighted F1",
    "top5": "top-5 accuracy",
    "log_loss": "log loss",
    "ece": "calibration error",
    "micro_f1": "micro-F1",
    "subset_accuracy": "all labels right",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "spread": "spread of the truth",
}
LOWER_IS_BETTER = frozenset({"log_loss", "ece", "mae", "rmse"})
OF_THE_TARGET = frozenset({"mae", "rmse", "spread"})  # in the target's unit, of any size
NEITHER = frozenset({"spread"})  # says something of the data, not of the head


def in_words(value: float | None, name: str, signed: bool = False) -> str:
    """A figure: three decimals, or four digits where it is in the target's unit; a dash where it is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if name not in OF_THE_TARGET:
        value = round(value, 3) + 0.0  # and no minus before nothing
    sign = "+" if signed and value else ""
    if name not in OF_THE_TARGET:
        return f"{value:{sign}.3f}"
    return f"{value:{sign},.0f}" if abs(value) >= 10_000 else f"{value:{sign}.4g}"
