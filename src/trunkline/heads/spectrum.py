"""The spectrum of standardised features, from some blocks: where each pass has to read them again, it saves half of the passes.

It serves L-BFGS as the first guess of the inverse Hessian, which of a linear head is near the features' Gram matrix, times a factor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.passes import Block, Sums
from trunkline.heads.training import TrainingData

Vector = NDArray[np.float64]
MOST_FEATURES = 4096  # of a Gram matrix: 128 MiB in float64
ROWS_PER_FEATURE = 32


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (kept,) and eigenvectors (kept, kept) of the mean of x xᵀ."""

    values: Vector
    vectors: NDArray[np.float64]

    def inverse(self, curvature: float, penalty: float, outputs: int) -> Callable[[Vector], Vector]:
        """Of `curvature · xxᵀ + penalty`, applied to a flat (kept + 1, outputs) gradient; intercepts are divided by the curvature."""
        scale = (1.0 / (curvature * self.values + penalty))[:, None]

        def apply(flat: Vector) -> Vector:
            gradient = flat.reshape(-1, outputs)
            slopes = self.vectors @ (scale * (self.vectors.T @ gradient[:-1]))
            return np.vstack([slopes, gradient[-1:] / curvature]).ravel()

        return apply


def spectrum_of(data: TrainingData) -> Spectrum | None:
    """Of evenly spread blocks; None where processes hold all features between passes, or there are too many features."""
    if data.width > MOST_FEATURES or data.nbytes <= data.held_bytes * data.executor.workers:
        return None
    some = data.spread(ROWS_PER_FEATURE * data.width)
    gram, rows = some.reduce(_gram)
    values, vectors = np.linalg.eigh(gram / rows)
    return Spectrum(np.maximum(values, 0.0), vectors)


def _gram(block: Block, _: None) -> Sums:
    return block.x.T @ block.x, len(block.x)
