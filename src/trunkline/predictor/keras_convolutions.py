"""Keras's convolutions, pooling, padding and cropping as ONNX operators, with explicit pads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import BackboneError
from trunkline.predictor.keras_activations import activated
from trunkline.predictor.onnx_graph import Graph, Value

Emit = Callable[[Graph, Any, list[Value]], Value]


def unknown(layer: Any, what: str) -> BackboneError:
    return BackboneError(
        f"The layer {layer.name!r} ({type(layer).__name__}) cannot be written as ONNX: {what}. "
        "Bring the network as an ONNX file instead."
    )


def convolution(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    kernel = np.transpose(numbers_of(layer.kernel), (3, 2, 0, 1))
    made = _convolved(graph, layer, graph.floats(inputs[0]), kernel, bias_of(layer), layer.groups)
    return activated(graph, layer, made)


def depthwise(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    made = _convolved(graph, layer, graph.floats(inputs[0]), _depthwise(layer.kernel), bias_of(layer), inputs[0].shape[-1])
    return activated(graph, layer, made)


def separable(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    spread = _convolved(graph, layer, graph.floats(inputs[0]), _depthwise(layer.depthwise_kernel), None, inputs[0].shape[-1])
    pointwise = np.transpose(numbers_of(layer.pointwise_kernel), (3, 2, 0, 1))
    tensors = [graph.first(spread), graph.constant(pointwise, f"{layer.name}/pointwise")]
    if (bias := bias_of(layer)) is not None:
        tensors.append(graph.constant(bias, f"{layer.name}/bias"))
    made = Value((*spread.shape[:2], len(pointwise)), first=graph.node("Conv", tensors, layer.name))
    return activated(graph, layer, made)


def pooling(kind: str) -> Emit:
    def emit(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
        value = inputs[0]
        kernel, strides = _pair(layer.pool_size), _pair(layer.strides)
        pads, sides = _padding(layer, value.shape[:2], kernel, strides, (1, 1))
        made = graph.node(kind, [graph.first(value)], layer.name, kernel_shape=list(kernel), strides=list(strides), pads=pads)
        return Value((*sides, value.shape[-1]), first=made)

    return emit


def zero_padding(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    value, ((top, bottom), (left, right)) = inputs[0], layer.padding
    pads = graph.constant([0, 0, top, left, 0, 0, bottom, right], f"{layer.name}/pads")
    height, width, channels = value.shape
    made = graph.node("Pad", [graph.first(value), pads], layer.name)
    return Value((height + top + bottom, width + left + right, channels), first=made)


def cropping(graph: Graph, layer: Any, inputs: list[Value]) -> Value:
    value, ((top, bottom), (left, right)) = inputs[0], layer.cropping
    height, width, channels = value.shape
    bounds = [graph.constant(each, f"{layer.name}/bounds") for each in ([top, left], [height - bottom, width - right], [2, 3])]
    made = graph.node("Slice", [graph.first(value), *bounds], layer.name)
    return Value((height - top - bottom, width - left - right, channels), first=made)


def numbers_of(variable: Any) -> NDArray[np.float32]:
    """Of a variable or tensor of Keras, or plain numbers."""
    return np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable, np.float32)


def bias_of(layer: Any) -> NDArray[np.float32] | None:
    return numbers_of(layer.bias) if layer.use_bias else None


def _depthwise(kernel: Any) -> NDArray[np.float32]:
    """(height, width, channels, multiplier) → (channels · multiplier, 1, height, width)."""
    turned = np.transpose(numbers_of(kernel), (2, 3, 0, 1))
    return turned.reshape(-1, 1, *turned.shape[2:])


def _convolved(
    graph: Graph, layer: Any, value: Value, kernel: NDArray[np.float32], bias: NDArray[np.float32] | None, groups: int
) -> Value:
    strides, dilations = _pair(layer.strides), _pair(layer.dilation_rate)
    pads, sides = _padding(layer, value.shape[:2], kernel.shape[2:], strides, dilations)
    tensors = [graph.first(value), graph.constant(kernel, f"{layer.name}/kernel")]
    if bias is not None:
        tensors.append(graph.constant(bias, f"{layer.name}/bias"))
    attributes: dict[str, Any] = {"strides": list(strides), "dilations": list(dilations), "pads": pads, "group": groups}
    return Value((*sides, len(kernel)), first=graph.node("Conv", tensors, layer.name, **attributes))


def _padding(
    layer: Any, sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], tuple[int, ...]]:
    """Pads [top, left, bottom, right] and the sides that come out. `same` puts the odd pixel after, as TensorFlow does."""
    if layer.data_format != "channels_last":
        raise unknown(layer, f"data_format {layer.data_format}")
    before, after, out = [], [], []
    for side, reach, stride, step in zip(sides, kernel, strides, dilations, strict=True):
        span = (reach - 1) * step + 1
        if layer.padding == "same":
            length = -(-side // stride)
            total = max((length - 1) * stride + span - side, 0)
        elif layer.padding == "valid":
            length, total = (side - span) // stride + 1, 0
        else:
            raise unknown(layer, f"padding {layer.padding}")
        before.append(total // 2)
        after.append(total - total // 2)
        out.append(length)
    return [*before, *after], tuple(out)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))
