"""Dense layers with ReLU between, over standardised features: what an MLP computes, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.linear_head import Activation, activated
from trunkline.heads.protocol import Features
from trunkline.heads.standard import Standard
from trunkline.heads.targets import Target

Values = NDArray[np.float32]
ACTIVATIONS: dict[str, Activation] = {"classes": "softmax", "multilabel": "sigmoid", "regression": "identity"}
ROWS = 4096  # computed at once, in float64


@dataclass(frozen=True)
class DenseLayers:
    """Mean and deviation of features; kernel (in, out) and bias (out,) of each layer, the output layer last."""

    standard: Standard
    layers: Sequence[tuple[Values, Values]]

    def outputs(self, features: Features, target: Target) -> NDArray[np.float64]:
        """(n, kept) features as stored → (n, k)."""
        out = np.empty((len(features), target.outputs))
        for first in range(0, len(features), ROWS):
            x = self.standard(features[first : first + ROWS]).astype(np.float64)
            for kernel, bias in self.layers[:-1]:
                x = np.maximum(x @ kernel.astype(np.float64) + bias, 0.0)
            kernel, bias = self.layers[-1]
            out[first : first + ROWS] = activated(x @ kernel.astype(np.float64) + bias, ACTIVATIONS[target.kind])
        return out
