"""What the figures of metrics are called, and which way is better."""

from __future__ import annotations

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
