"""What every head does: fit on masked features, give probabilities, be saved without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Codes = NDArray[np.int64]


class FittedHead(Protocol):
    """A classifier over (n, kept) float32 features and k classes."""

    @property
    def chosen(self) -> Mapping[str, str]:
        """What cross-validation or the spec decided, ready to print."""

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        """(n, kept) → (n, k), rows sum to 1."""

    def files(self) -> dict[str, bytes]:
        """File name → content; no pickle."""
