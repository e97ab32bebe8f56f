"""Metrics of a head that predicts a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trunkline.metrics import bootstrap
from trunkline.metrics.parts import Grid, Intervals, intervals_of_json, summary_of
from trunkline.metrics.said import Said, count_of, float_of, mapping_of

Values = NDArray[np.float64]


@dataclass(frozen=True)
class RegressionMetrics:
    """Of `rows` rows: R², mean absolute error, root mean squared error; `spread` is the truth's standard deviation, in the target's unit.

    Where the truth is one value, R² is 1 if every prediction is that value, and else 0, as scikit-learn has it; of one row it is NaN.
    `grid` counts truth against prediction.
    """

    r2: float
    mae: float
    rmse: float
    spread: float
    rows: int
    grid: Grid
    intervals: Intervals = field(default_factory=dict)

    targets: ClassVar[str] = "regression"

    @classmethod
    def of(cls, truth: Values, predicted: Values, seed: int = 0) -> RegressionMetrics:
        """From (n,) values each."""
        error, centred = predicted - truth, truth - truth.mean()
        squared, total = float(np.square(error).sum()), float(np.square(centred).sum())
        terms = np.stack([np.square(error), np.abs(error), centred, np.square(centred)], axis=1)
        return cls(
            r2=_r2(squared, total) if len(truth) > 1 else float("nan"),
            mae=float(np.abs(error).mean()),
            rmse=float(np.sqrt(squared / len(truth))),
            spread=float(np.sqrt(total / len(truth))),
            rows=len(truth),
            grid=Grid.of(truth, predicted),
            intervals=bootstrap.of_rows(terms, lambda sums: _figures(sums, len(truth), total), seed),
        )

    @property
    def headline(self) -> tuple[str, float]:
        """The figure that heads are compared by, higher is better: what it is called, and its value."""
        return "R²", self.r2

    @property
    def figures(self) -> Mapping[str, float | None]:
        """Each figure by its field's name, in the order to show them, the headline's first."""
        return {name: getattr(self, name) for name in ("r2", "mae", "rmse", "spread")}

    def summary(self) -> dict[str, Any]:
        """What fits into a line: figures and intervals as plain JSON."""
        return summary_of(self.targets, self.rows, self.headline, self.figures, self.intervals)

    def to_json(self) -> dict[str, Any]:
        return {**self.summary(), "grid": self.grid.to_json()}

    @classmethod
    def of_json(cls, said: Said) -> RegressionMetrics:
        """Raises KeyError or ValueError where something is missing or odd."""
        figures = {name: float_of(said[name], name) for name in ("r2", "mae", "rmse", "spread")}
        grid, rows = Grid.of_json(mapping_of(said["grid"], "grid")), count_of(said["rows"], "rows")
        return cls(rows=rows, grid=grid, intervals=intervals_of_json(said.get("intervals", {})), **figures)


def _r2(squared: float, total: float) -> float:
    if total == 0:
        return 1.0 if squared == 0 else 0.0
    return 1 - squared / total


def _figures(sums: Values, rows: int, total: float) -> dict[str, Values]:
    """From (resamples, 4) sums of squared errors, absolute errors, the centred truth and its square."""
    squared, absolute, shift, spread = sums.T
    within = spread - np.square(shift) / rows
    varies = within > 1e-9 * max(total, 1e-300)  # a resample of one value has rounding alone
    r2 = np.where(varies, 1 - squared / np.where(varies, within, 1), np.nan)
    return {"r2": r2, "mae": absolute / rows, "rmse": np.sqrt(squared / rows)}
