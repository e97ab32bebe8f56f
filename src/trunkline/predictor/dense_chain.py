"""A head as dense layers over all features of its layer: mask and standardisation folded into the first one's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.dense_layers import ACTIVATIONS
from trunkline.heads.linear_head import LinearHead
from trunkline.heads.mlp import Mlp
from trunkline.heads.opening import OpenHead
from trunkline.heads.standard import Standard

Matrix = NDArray[np.floating]


@dataclass(frozen=True)
class DenseLayer:
    """`activation(x @ weights + bias)`: (inputs, outputs) and (outputs,) float32; activation as Keras names it."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: str

    @classmethod
    def of(cls, weights: Matrix, bias: Matrix, activation: str) -> DenseLayer:
        return cls(np.asarray(weights, np.float32), np.asarray(bias, np.float32), activation)


def chain_of(head: OpenHead) -> Sequence[DenseLayer]:
    """The layers of a head that is some, none of another.

    (x − mean) / deviation @ W + b is x @ (W / deviation) + (b − mean / deviation @ W), and a column that the mask drops has weight 0. Sums
    are taken in float64, so that only the last rounding, to float32, is lost.
    """
    fitted = head.fitted
    if isinstance(fitted, LinearHead):
        standard, last = fitted.standard, fitted.activation
        layers: list[tuple[Matrix, Matrix]] = [(fitted.weights[:-1], fitted.weights[-1])]
    elif isinstance(fitted, Mlp):
        standard, last = fitted.layers.standard, ACTIVATIONS[head.target.kind]
        layers = [(kernel, bias) for kernel, bias in fitted.layers.layers]
    else:
        return ()
    first, bias = folded(standard, *layers[0])
    layers[0] = (spread(first, head.columns), bias)
    names = [*["relu"] * (len(layers) - 1), "linear" if last == "identity" else last]
    return tuple(DenseLayer.of(*numbers, name) for numbers, name in zip(layers, names, strict=True))


def folded(standard: Standard, weights: Matrix, bias: Matrix) -> tuple[Matrix, Matrix]:
    """Weights and bias over features as they are stored."""
    scaled = np.asarray(weights, np.float64) / standard.deviation.astype(np.float64)[:, None]
    return scaled, np.asarray(bias, np.float64) - standard.mean.astype(np.float64) @ scaled


def spread(weights: Matrix, columns: NDArray[np.bool_]) -> Matrix:
    """(kept, k) → (dim, k), zero where a column is dropped."""
    out = np.zeros((len(columns), weights.shape[1]))
    out[columns] = weights
    return out
