"""The truncated network in Keras: pixels in, one vector a layer out. The reference of every other runtime."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trunkline.backbones import classic, efficientnet_lite, keras_zoo, own_keras
from trunkline.backbones.backbone import BATCH, Backbone, Layer, Normalisation
from trunkline.backbones.importing import import_keras
from trunkline.backbones.random_weights import randomise
from trunkline.errors import BackboneError, did_you_mean
from trunkline.specs import Recipe

FAMILIES: Mapping[str, Any] = {"efficientnet-lite": efficientnet_lite, "keras": keras_zoo, "classic": classic}
MAX_LISTED_LAYERS = 12
MAX_MAP_BYTES = 12 * 2**20  # of the largest feature map of a batch: more falls out of a core's caches
GEM_POWER, GEM_LEAST = 3.0, 1e-6


def whole(backbone: Backbone, weights: Path | None, size: int) -> Any:
    """The network with its weights, or with random ones.

    Parameters
    ----------
    backbone : of the catalogue, or the user's own.
    weights : its weights file; for the user's own network the file itself; None for random weights.
    size : side of the input in pixels.

    Returns
    -------
    keras.Model from (n, size, size, 3) float32, normalised.

    Raises
    ------
    BackboneError : the file is not one of this network, or the network cannot be built at this size.
    """
    import_keras()
    if backbone.family == "own":
        assert weights is not None
        return own_keras.load(weights, size)
    family = FAMILIES[backbone.family]
    model = family.build(backbone.name, size)
    if weights is None:
        randomise(model)
    else:
        family.load_weights(model, backbone.name, weights)
    return model


def layers(model: Any) -> list[Layer]:
    """Every layer the network can be cut at, in order."""
    return [Layer(each.name, type(each).__name__, tuple(each.output.shape[1:])) for each in _cuttable(model)]


def truncated(model: Any, recipe: Recipe, normalisation: Normalisation, batch: int) -> Any:
    """The network cut at the recipe's layers, with normalisation before and pooling after.

    Parameters
    ----------
    model : what `whole` gives.
    recipe : its layers, pooling, size and pixels count.
    normalisation : of pixels from 0 to 255.
    batch : images a forward pass.

    Returns
    -------
    keras.Model from (batch, size, size, 3) uint8 or float32 to a dict: layer → (batch, dim) float32; kept maps are flat here.

    Raises
    ------
    BackboneError : it has no such layer.
    """
    keras = import_keras()
    cuts = {layer: _cut(model, recipe.backbone, layer) for layer in recipe.layers}
    inner = keras.Model(model.inputs, cuts, name="network")
    pixels = keras.Input(batch_shape=(batch, recipe.size, recipe.size, 3), dtype=recipe.pixels, name="pixels")
    maps = inner(normalised(keras, pixels, normalisation))
    vectors = {layer: pooled(keras, keras.ops.cast(maps[layer], "float32"), recipe.pooling) for layer in cuts}
    return keras.Model(pixels, vectors, name="truncated")


def pooled(keras: Any, features: Any, pooling: str) -> Any:
    """A vector an image: the map's pixels, or the tokens, reduced; `none` lays them out in (height, width, channels) order.

    `gem` is generalised mean pooling with power 3 (F. Radenović, G. Tolias and O. Chum, "Fine-tuning CNN Image Retrieval with No
    Human Annotation", 2018).
    """
    inner = tuple(range(1, len(features.shape) - 1))
    if not inner:
        return features
    match pooling:
        case "avg":
            return keras.ops.mean(features, axis=inner)
        case "max":
            return keras.ops.max(features, axis=inner)
        case "gem":
            powers = keras.ops.power(keras.ops.maximum(features, GEM_LEAST), GEM_POWER)
            return keras.ops.power(keras.ops.mean(powers, axis=inner), 1.0 / GEM_POWER)
        case _:
            return keras.ops.reshape(features, (features.shape[0], -1))


def shapes(model: Any, recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Layer → what a row of its array looks like: (dim,), or (height, width, channels) where maps are kept."""
    found = {}
    for layer in recipe.layers:
        shape = tuple(model.get_layer("network").output[layer].shape[1:])
        vector = math.prod(shape) if recipe.pooling == "none" else shape[-1]
        found[layer] = shape if recipe.maps == "kept" else (vector,)
    return found


def batch_for(places: Sequence[Layer]) -> int:
    """Images a forward pass: a power of two up to 32, so that the largest feature map stays within 12 MiB.

    MobileNetV2 in batches of 2 is a third faster than in batches of 32 (2 cores with 1 MiB of L2 each); ResNet50 does not care.
    """
    largest = max(4 * math.prod(size or 1 for size in place.shape) for place in places)
    return 1 << (max(1, min(BATCH, MAX_MAP_BYTES // largest)).bit_length() - 1)


def multiply_accumulates(model: Any) -> int:
    """Multiply-accumulates of one image through the convolutions and dense layers: what the forward pass costs."""
    total = 0
    for layer in _flat(model):
        kind = type(layer).__name__
        if kind == "DepthwiseConv2D":
            total += math.prod(layer.output.shape[1:]) * math.prod(layer.kernel_size)
        elif kind == "SeparableConv2D":
            pixels, depthwise = math.prod(layer.output.shape[1:-1]), layer.depthwise_kernel.shape
            total += pixels * (math.prod(depthwise) + math.prod(layer.pointwise_kernel.shape))
        elif hasattr(layer, "kernel"):
            total += math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    return total


def normalised(keras: Any, pixels: Any, normalisation: Normalisation) -> Any:
    mean, deviation = _three(normalisation.mean), _three(normalisation.deviation)
    scale, offset = [1.0 / each for each in deviation], [-m / d for m, d in zip(mean, deviation, strict=True)]
    ordered = pixels[..., ::-1] if normalisation.channels == "bgr" else pixels
    return keras.layers.Rescaling(_one(scale), offset=_one(offset), name="normalised", dtype="float32")(ordered)


def _three(value: float | tuple[float, float, float]) -> tuple[float, float, float]:
    return value if isinstance(value, tuple) else (value, value, value)


def _one(values: list[float]) -> float | list[float]:
    return values[0] if len(set(values)) == 1 else values


def _cut(model: Any, name: str, layer: str) -> Any:
    known = {each.name: each.output for each in _cuttable(model)}
    if layer not in known:
        ends = ", ".join(list(known)[-MAX_LISTED_LAYERS:])
        raise BackboneError(
            f"The backbone {name} has no layer {layer!r}.{did_you_mean(layer, known)} It has {len(known)}; the last are: {ends}."
        )
    return known[layer]


def _cuttable(model: Any) -> list[Any]:
    """The layers with one output an image; the input is none."""
    return [layer for layer in model.layers if type(layer).__name__ != "InputLayer" and _is_vector_or_map(layer)]


def _is_vector_or_map(layer: Any) -> bool:
    try:
        return len(layer.output.shape) in (2, 3, 4)
    except (AttributeError, ValueError):  # several outputs, or used in several places
        return False


def _flat(model: Any) -> Iterator[Any]:
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flat(layer)
        else:
            yield layer
