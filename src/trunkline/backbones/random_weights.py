"""Random weights that are the same in every process: what an untrained network computes with, where it is asked for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

SCHEME = "trunkline random weights 1: He-normal kernels, seeded by the SHA-256 of layer, position and shape"


def randomise(model: Any) -> None:
    """Give a built network its random weights: the same in every process, whatever was built before.

    Kernels, and what else is trainable and starts with random values, are drawn from N(0, 2 / fan-in) (K. He et al., "Delving Deep into
    Rectifiers", 2015); the rest keeps its initial values.

    Parameters
    ----------
    model : keras.Model; it is changed.
    """
    for path, layer in _leaves(model, ""):
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        for position, variable in enumerate(layer.weights):
            if variable.trainable and (variable.name.endswith("kernel") or _is_random(variable)):
                shape = tuple(variable.shape)
                fan_in = math.prod(shape[:2] if depthwise or variable.name == "depthwise_kernel" else shape[:-1])
                seed = hashlib.sha256(f"{path} {position} {shape}".encode()).digest()
                draw = np.random.default_rng(int.from_bytes(seed, "big")).standard_normal(shape, dtype=np.float32)
                variable.assign(draw * np.float32(math.sqrt(2.0 / fan_in)))


def _leaves(model: Any, outside: str) -> Iterator[tuple[str, Any]]:
    """The layers of a model and of the models in it, by the names of what they lie in."""
    for layer in model.layers:
        path = f"{outside}/{layer.name}"
        if hasattr(layer, "layers"):
            yield from _leaves(layer, path)
        else:
            yield path, layer


def _is_random(variable: Any) -> bool:
    """Whether its values differ: Keras's constant initialisers give one value everywhere."""
    values = np.asarray(variable)
    return values.dtype.kind == "f" and values.size > 1 and bool((values != values.flat[0]).any())
