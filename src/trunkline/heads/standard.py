"""Standardising features by what the training rows are like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.protocol import Features


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of training rows, (kept,) float32 each; a constant feature has deviation 1."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def __call__(self, features: Features) -> Features:
        """(x − mean) / deviation, float32."""
        out = np.subtract(features, self.mean, dtype=np.float32)
        out /= self.deviation
        return out


def prepared(features: NDArray[Any], standard: Standard | None) -> Features:
    """(n, kept) float32: standardised, or as stored where there is no standard."""
    return standard(features) if standard else np.asarray(features, np.float32)
