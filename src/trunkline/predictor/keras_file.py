"""The Keras file of a predictor: the truncated network for any batch, pooling, and the head as dense layers; Keras's own layers alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trunkline.backbones.importing import import_keras
from trunkline.backbones.network import GEM_LEAST, GEM_POWER
from trunkline.predictor.dense_chain import DenseLayer

OUTPUT = {"softmax": "probabilities", "sigmoid": "probabilities", "linear": "values"}


def features_model(path: Path, layer: str, pooling: str, dtype: str) -> Any:
    """From the compiled backbone to one layer's features.

    Parameters
    ----------
    path : `model.keras` of a compiled backbone, which takes a fixed batch.
    layer, pooling, dtype : the one that is wanted; of the recipe. float16 features are rounded as they are in the store.

    Returns
    -------
    keras.Model from pixels (n, size, size, 3), as the recipe's `pixels`, to (n, dim) float32, for any n.
    """
    keras = import_keras()
    whole = keras.models.load_model(path, compile=False)
    old = whole.inputs[0]
    network = whole.get_layer("network")
    inner = keras.Model(network.inputs[0], network.output[layer], name="network")
    pixels = keras.Input(tuple(old.shape[1:]), dtype=old.dtype, name="pixels")
    reverses = any(type(each).__name__ == "GetItem" for each in whole.operations)
    ordered = pixels[..., ::-1] if reverses else pixels
    features = _pooled(keras, inner(whole.get_layer("normalised")(ordered)), pooling)
    if dtype == "float16":
        features = keras.ops.cast(keras.ops.cast(features, "float16"), "float32")
    return keras.Model(pixels, features, name="features")


def with_head(features: Any, chain: Sequence[DenseLayer]) -> Any:
    """The model with its head; the last layer is named `probabilities`, or `values` of a regression."""
    keras = import_keras()
    made = features.output
    for number, layer in enumerate(chain, 1):
        is_last = number == len(chain)
        name = OUTPUT.get(layer.activation, "values") if is_last else f"head_{number}"
        dense = keras.layers.Dense(layer.weights.shape[1], activation=layer.activation, name=name, dtype="float32")
        made = dense(made)
        dense.set_weights([layer.weights, layer.bias])
    return keras.Model(features.inputs[0], made, name="predictor")


def _pooled(keras: Any, features: Any, pooling: str) -> Any:
    """As `backbones.network.pooled`, for any batch."""
    inner = tuple(range(1, len(features.shape) - 1))
    if not inner:
        return features
    match pooling:
        case "avg" | "max":
            kind = {"avg": "Average", "max": "Max"}[pooling]
            return getattr(keras.layers, f"Global{kind}Pooling{len(inner)}D")(name="pooled")(features)
        case "gem":
            powers = keras.ops.power(keras.ops.maximum(features, GEM_LEAST), GEM_POWER)
            return keras.ops.power(keras.ops.mean(powers, axis=inner), 1.0 / GEM_POWER)
        case _:
            return keras.layers.Flatten(name="pooled")(features)
