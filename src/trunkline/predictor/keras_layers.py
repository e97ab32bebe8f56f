"""Keras layers as ONNX operators: a function a kind of layer, by its class's name. Layers only; what they compute is inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.predictor.keras_activations import activated
from trunkline.predictor.keras_convolutions import (
    Emit,
    bias_of,
    convolution,
    cropping,
    depthwise,
    numbers_of,
    pooling,
    separable,
    unknown,
    zero_padding,
)
from trunkline.predictor.onnx_graph import Graph, Value


def dense(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    value = graph.floats(inputs[0])
    kernel, bias = graph.constant(numbers_of(layer.kernel), f"{layer.name}/kernel"), bias_of(layer)
    shape = (*value.shape[:-1], int(layer.kernel.shape[-1]))
    if len(value.shape) == 1:
        tensors = [graph.last(value), kernel, *([] if bias is None else [graph.constant(bias, f"{layer.name}/bias")])]
        return activated(graph, layer, Value(shape, graph.node("Gemm", tensors, layer.name)))
    made = Value(shape, graph.node("MatMul", [graph.last(value), kernel], layer.name))
    return activated(graph, layer, made if bias is None else graph.by_channel(made, "Add", bias, layer.name))


def batch_normalization(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    value = graph.floats(inputs[0])
    _last_axis(layer, value)
    mean, variance = numbers_of(layer.moving_mean), numbers_of(layer.moving_variance)
    gamma = numbers_of(layer.gamma) if layer.scale else np.ones_like(mean)
    beta = numbers_of(layer.beta) if layer.center else np.zeros_like(mean)
    if value.is_map:
        numbers = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        names = [graph.constant(each, f"{layer.name}/{name}") for name, each in numbers.items()]
        made = graph.node("BatchNormalization", [graph.first(value), *names], layer.name, epsilon=float(layer.epsilon))
        return Value(value.shape, first=made)
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + layer.epsilon)
    return graph.by_channel(graph.by_channel(value, "Mul", scale, layer.name), "Add", beta - mean * scale, layer.name)


def layer_normalization(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    value = graph.floats(inputs[0])
    _last_axis(layer, value)
    if getattr(layer, "rms_scaling", False):
        raise unknown(layer, "rms_scaling")
    width = value.shape[-1]
    numbers = [numbers_of(layer.gamma) if layer.scale else np.ones(width, np.float32)]
    numbers += [numbers_of(layer.beta)] if layer.center else []
    names = [graph.constant(each, f"{layer.name}/numbers") for each in numbers]
    made = graph.node("LayerNormalization", [graph.last(value), *names], layer.name, axis=-1, epsilon=float(layer.epsilon))
    return Value(value.shape, made)


def rescaling(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    value = graph.by_channel(graph.floats(inputs[0]), "Mul", np.asarray(layer.scale), layer.name)
    return graph.by_channel(value, "Add", np.asarray(layer.offset), layer.name) if np.any(layer.offset) else value


def normalization(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    if getattr(layer, "invert", False):
        raise unknown(layer, "invert")
    mean, variance = (np.asarray(numbers_of(each), np.float64).reshape(-1) for each in (layer.mean, layer.variance))
    if mean.size not in (1, inputs[0].shape[-1]):
        raise unknown(layer, "an axis that is not the last one")
    scale = 1.0 / np.maximum(np.sqrt(variance), 1e-7)
    value = graph.by_channel(graph.floats(inputs[0]), "Add", -mean, layer.name)
    return graph.by_channel(value, "Mul", scale, layer.name)


def layer_scale(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    return graph.by_channel(inputs[0], "Mul", numbers_of(layer.gamma), layer.name)


def custom_scale(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    scaled = graph.by_channel(inputs[1], "Mul", np.asarray(layer.scale), layer.name)
    return combined(graph, "Add", [inputs[0], scaled], layer)


def global_pooling(kind: str) -> Emit:
    def emit(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
        return reduced(graph, kind, inputs[0], keep=bool(layer.keepdims), base=layer.name)

    return emit


def reduced(graph: Graph, kind: str, value: Value, keep: bool, base: str) -> Value:
    """ReduceMean or ReduceMax over all axes but batch and channels."""
    inner = len(value.shape) - 1
    shape = (*([1] * inner if keep else []), value.shape[-1])
    if value.first:
        made = graph.reduce(kind, value.first, range(2, 2 + inner), keep, base)
        return Value(shape, first=made) if keep else Value(shape, made)
    return Value(shape, graph.reduce(kind, graph.last(value), range(1, 1 + inner), keep, base))


def merging(kind: str) -> Emit:
    def emit(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
        return combined(graph, kind, inputs, layer)

    return emit


def combined(graph: Graph, kind: str, values: Sequence[Value], layer: Any) -> Value:
    """Element by element; lengths of 1 are repeated."""
    if len({len(each.shape) for each in values}) != 1:
        raise unknown(layer, f"it combines values of {' and '.join(str(each.shape) for each in values)}")
    values = [graph.floats(each) for each in values]
    is_first = any(each.first for each in values) and values[0].is_map
    tensors = [graph.first(each) if is_first else graph.last(each) for each in values]
    shape = tuple(max(sides) for sides in zip(*(each.shape for each in values), strict=True))
    made = tensors[0]
    for other in tensors[1:]:
        made = graph.node(kind, [made, other], layer.name)
    return Value(shape, first=made) if is_first else Value(shape, made)


def concatenate(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    values = [graph.floats(each) for each in inputs]
    axis = layer.axis if layer.axis >= 0 else layer.axis + len(values[0].shape) + 1
    shape = list(values[0].shape)
    shape[axis - 1] = sum(each.shape[axis - 1] for each in values)
    if values[0].is_map:
        tensors = [graph.first(each) for each in values]
        return Value(tuple(shape), first=graph.node("Concat", tensors, layer.name, axis={1: 2, 2: 3, 3: 1}[axis]))
    return Value(tuple(shape), graph.node("Concat", [graph.last(each) for each in values], layer.name, axis=axis))


def reshaped(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    """Flatten and Reshape: the batch stays, the rest has the layer's output shape."""
    value = inputs[0]
    shape = tuple(layer.compute_output_shape((None, *value.shape))[1:])
    if len(value.shape) == 1 and shape == (1, 1, *value.shape):  # one number a channel: as convolutions take it
        column = graph.constant([0, *value.shape, 1, 1], f"{layer.name}/shape")
        return Value(shape, first=graph.node("Reshape", [graph.last(value), column], layer.name), dtype=value.dtype)
    tensors = [graph.last(value), graph.constant([0, *shape], f"{layer.name}/shape")]
    return Value(shape, graph.node("Reshape", tensors, layer.name), dtype=value.dtype)


def permuted(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    value = inputs[0]
    shape = tuple(value.shape[axis - 1] for axis in layer.dims)
    return Value(shape, graph.node("Transpose", [graph.last(value)], layer.name, perm=[0, *layer.dims]), dtype=value.dtype)


def unchanged(graph: Graph, layer: Any, inputs: list[Value]) -> Value:  # noqa: ARG001
    """What does nothing in inference."""
    return inputs[0]


def relu(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    slope, most = float(layer.negative_slope or 0.0), layer.max_value
    if layer.threshold:
        raise unknown(layer, f"threshold {layer.threshold}")
    value = graph.floats(inputs[0])
    if not slope and most is not None:
        return graph.each(value, "Clip", [graph.constant(0.0), graph.constant(float(most))], layer.name)
    value = (
        graph.each(value, "LeakyRelu", base=layer.name, alpha=slope) if slope else graph.each(value, "Relu", base=layer.name)
    )
    return value if most is None else graph.each(value, "Min", [graph.constant(float(most))], layer.name)


def leaky_relu(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    return graph.each(graph.floats(inputs[0]), "LeakyRelu", base=layer.name, alpha=float(layer.negative_slope))


def elu(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    return graph.each(graph.floats(inputs[0]), "Elu", base=layer.name, alpha=float(layer.alpha))


def prelu(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    value, alpha = inputs[0], numbers_of(layer.alpha)
    if value.first:
        alpha = np.moveaxis(alpha, -1, 0)
    return graph.each(value, "PRelu", [graph.constant(alpha, f"{layer.name}/alpha")], layer.name)


def softmax(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    if layer.axis not in (-1, len(inputs[0].shape)):
        raise unknown(layer, f"axis {layer.axis}, which is not the last one")
    return Value(inputs[0].shape, graph.node("Softmax", [graph.last(inputs[0])], layer.name, axis=-1))


def _activation(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    return activated(graph, layer, graph.floats(inputs[0]))


LAYERS: Mapping[str, Emit] = {
    "Activation": _activation,
    "ActivityRegularization": unchanged,
    "Add": merging("Add"),
    "AveragePooling2D": pooling("AveragePool"),
    "BatchNormalization": batch_normalization,
    "Concatenate": concatenate,
    "Conv2D": convolution,
    "Cropping2D": cropping,
    "CustomScaleLayer": custom_scale,
    "Dense": dense,
    "DepthwiseConv2D": depthwise,
    "Dropout": unchanged,
    "ELU": elu,
    "Flatten": reshaped,
    "GaussianDropout": unchanged,
    "GaussianNoise": unchanged,
    "GlobalAveragePooling1D": global_pooling("ReduceMean"),
    "GlobalAveragePooling2D": global_pooling("ReduceMean"),
    "GlobalMaxPooling1D": global_pooling("ReduceMax"),
    "GlobalMaxPooling2D": global_pooling("ReduceMax"),
    "Identity": unchanged,
    "LayerNormalization": layer_normalization,
    "LayerScale": layer_scale,
    "LeakyReLU": leaky_relu,
    "MaxPooling2D": pooling("MaxPool"),
    "Maximum": merging("Max"),
    "Minimum": merging("Min"),
    "Multiply": merging("Mul"),
    "Normalization": normalization,
    "PReLU": prelu,
    "Permute": permuted,
    "ReLU": relu,
    "Rescaling": rescaling,
    "Reshape": reshaped,
    "SeparableConv2D": separable,
    "Softmax": softmax,
    "SpatialDropout2D": unchanged,
    "Subtract": merging("Sub"),
    "ZeroPadding2D": zero_padding,
}


def _last_axis(layer: Any, value: Value) -> None:
    axis = layer.axis[0] if isinstance(layer.axis, list | tuple) and len(layer.axis) == 1 else layer.axis
    if axis not in (-1, len(value.shape)):
        raise unknown(layer, f"axis {layer.axis}, which is not the last one")
