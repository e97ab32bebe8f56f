"""The truncated network in Keras: uint8 pixels in, one vector a layer out. The reference of every other runtime."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from trunkline.backbones import efficientnet_lite
from trunkline.backbones.catalogue import BATCH, Backbone, find
from trunkline.backbones.torch_files import read_state_dict
from trunkline.errors import BackboneError, did_you_mean

MAX_LISTED_LAYERS = 12


def truncated(name: str, layers: Sequence[str], size: int) -> Any:
    """The network with its pre-trained weights, cut at `layers`.

    Parameters
    ----------
    name : a backbone of the catalogue.
    layers : Keras layer names; a feature map is averaged over its pixels.
    size : side of the input in pixels.

    Returns
    -------
    keras.Model from (BATCH, size, size, 3) uint8 to a dict: layer → (BATCH, dim) float32.

    Raises
    ------
    BackboneError : unknown backbone or layer, or no weights.
    """
    backbone = find(name)
    keras = import_keras()
    whole = _whole(keras, backbone, size)
    return keras.Model(whole.input, {layer: _vector(keras, _cut(whole, name, layer)) for layer in layers}, name="truncated")


def multiply_accumulates(model: Any) -> int:
    """Multiply-accumulates of one image through the convolutions and dense layers: what the forward pass costs."""
    total = 0
    for layer in model.layers:
        if type(layer).__name__ == "DepthwiseConv2D":
            total += math.prod(layer.output.shape[1:]) * math.prod(layer.kernel_size)
        elif hasattr(layer, "kernel"):
            total += math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    return total


def import_keras() -> Any:
    """Keras on TensorFlow, without TensorFlow's start-up messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    return keras


def _whole(keras: Any, backbone: Backbone, size: int) -> Any:
    pixels = keras.Input(batch_shape=(BATCH, size, size, 3), dtype="uint8", name="pixels")
    mean, deviation = backbone.normalisation.mean, backbone.normalisation.deviation
    normalised = keras.layers.Rescaling(1.0 / deviation, offset=-mean / deviation, name="normalised")(pixels)
    whole = keras.Model(pixels, efficientnet_lite.build(backbone.name, normalised))
    checkpoint = read_state_dict(backbone.weights_path())
    for layer, values in efficientnet_lite.keras_weights(backbone.name, checkpoint).items():
        whole.get_layer(layer).set_weights(values)
    return whole


def _cut(whole: Any, name: str, layer: str) -> Any:
    known = [each.name for each in whole.layers[1:]]
    if layer not in known:
        ends = ", ".join(known[-MAX_LISTED_LAYERS:])
        raise BackboneError(
            f"The backbone {name} has no layer {layer!r}.{did_you_mean(layer, known)} It has {len(known)}; the last are: {ends}."
        )
    return whole.get_layer(layer).output


def _vector(keras: Any, output: Any) -> Any:
    return keras.ops.mean(output, axis=(1, 2)) if len(output.shape) == 4 else output
