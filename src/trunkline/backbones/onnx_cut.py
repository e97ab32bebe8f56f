"""What becomes of an ONNX network in OpenVINO: pixels normalised before it, layers cut, pooled and flattened after it.

The same is here in NumPy, for the reference: normalisation, the order of axes, pooling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.backbone import Normalisation
from trunkline.backbones.onnx_files import ImageInput

GEM_FLOOR, GEM_POWER = 1e-6, 3.0


def cut(
    model: Any,
    tensors: Mapping[str, str],
    image: ImageInput,
    *,
    size: int,
    batch: int,
    normalisation: Normalisation,
    pixels: str,
    pooling: str,
) -> Any:
    """An openvino.Model from (batch, size, size, 3) `pixels`, RGB from 0 to 255, to one vector (batch, dim) float32 a layer.

    Parameters
    ----------
    model : read by OpenVINO, of that batch and size; its outputs hold the tensors. It is taken apart.
    tensors : layer → name of its tensor.
    """
    import openvino
    from openvino import opset13 as ops

    ports = {name: port for port in model.outputs for name in port.get_names()}
    results = []
    for layer, tensor in tensors.items():
        inner = ports[tensor].get_node().input_value(0)
        results.append((layer, ops.result(_pool(ops, inner, pooling, batch))))
    old = model.inputs[0].get_node()
    new = ops.parameter([batch, size, size, 3], {"uint8": openvino.Type.u8, "float32": openvino.Type.f32}[pixels])
    values: Any = ops.convert(new, "f32")
    if normalisation.channels == "bgr":
        values = ops.gather(values, ops.constant(np.array([2, 1, 0])), ops.constant(3))
    if np.any(np.asarray(normalisation.mean) != 0):
        values = ops.subtract(values, ops.constant(np.asarray(normalisation.mean, np.float32)))
    if np.any(np.asarray(normalisation.deviation) != 1):
        values = ops.divide(values, ops.constant(np.asarray(normalisation.deviation, np.float32)))
    if image.channels_first:
        values = ops.transpose(values, ops.constant(np.array([0, 3, 1, 2])))
    if old.output(0).element_type != openvino.Type.f32:
        values = ops.convert(values, old.output(0).element_type.to_string())
    old.output(0).replace(values.output(0))
    cut = openvino.Model([result for _, result in results], [new], "truncated")
    for node in cut.get_ordered_ops():
        for port in node.outputs():
            port.get_tensor().set_names(set())
    new.output(0).get_tensor().set_names({"pixels"})
    for layer, result in results:
        result.input_value(0).get_tensor().add_names({layer})
    cut.validate_nodes_and_infer_types()
    return cut


def _pool(ops: Any, port: Any, pooling: str, batch: int) -> Any:
    values: Any = ops.convert(port, "f32")
    shape = tuple(port.get_partial_shape().to_shape())[1:]
    first = channels_first(shape)
    if len(shape) == 1 or pooling == "none":
        if first:
            values = ops.transpose(values, ops.constant(np.array([0, 2, 3, 1])))
        return ops.reshape(values, ops.constant(np.array([batch, math.prod(shape)])), special_zero=False)
    axes = ops.constant(np.array([2, 3] if first else list(range(1, len(shape)))))
    if pooling == "max":
        return ops.reduce_max(values, axes)
    if pooling == "gem":
        values = ops.power(ops.maximum(values, ops.constant(np.float32(GEM_FLOOR))), ops.constant(np.float32(GEM_POWER)))
        return ops.power(ops.reduce_mean(values, axes), ops.constant(np.float32(1 / GEM_POWER)))
    return ops.reduce_mean(values, axes)


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether it is a map (channels, height, width): the input is square, so a map is, and that tells its axes apart."""
    return len(shape) == 3 and not (shape[0] == shape[1] != shape[2])


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if channels_first(shape) else shape


def map_last(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.moveaxis(value, 0, -1) if channels_first(value.shape) else value


def row_shape(shape: tuple[int, ...], pooling: str, maps: str) -> tuple[int, ...]:
    if len(shape) == 1 or (pooling == "none" and maps == "kept"):
        return shape
    return (math.prod(shape),) if pooling == "none" else (shape[-1],)


def normalised(image: ImageInput, pixels: NDArray[Any], normalisation: Normalisation) -> NDArray[Any]:
    ordered = pixels.astype(np.float32)[..., :: -1 if normalisation.channels == "bgr" else 1]
    values = (ordered - np.asarray(normalisation.mean, np.float32)) / np.asarray(normalisation.deviation, np.float32)
    values = np.ascontiguousarray(values.transpose(0, 3, 1, 2) if image.channels_first else values)
    return values.astype({"float": np.float32, "float16": np.float16}[image.dtype])


def pooled(values: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """(n, height, width, c), (n, tokens, c) or (n, c) → (n, dim) float32, computed in float64."""
    exact = values.astype(np.float64)
    axes = tuple(range(1, exact.ndim - 1))
    if not axes or pooling == "none":
        return values.reshape(len(values), -1).astype(np.float32)
    if pooling == "avg":
        return np.asarray(exact.mean(axes), np.float32)
    if pooling == "max":
        return np.asarray(exact.max(axes), np.float32)
    means = (np.maximum(exact, GEM_FLOOR) ** GEM_POWER).mean(axes)
    return np.asarray(means ** (1 / GEM_POWER), np.float32)


def multiply_accumulates(model: Any) -> int:
    """Of a whole batch, through the convolutions and matrix products."""
    total = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in ("Convolution", "GroupConvolution"):
            weights = tuple(node.input_value(1).get_shape())
            total += math.prod(node.output(0).get_shape()) * math.prod(weights[1:] if kind == "Convolution" else weights[2:])
        elif kind in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):
            weights = tuple(node.input_value(1).get_shape())
            total += math.prod(node.input_value(0).get_shape()) * math.prod(weights[1:] if kind[0] == "C" else weights[2:])
        elif kind == "MatMul":
            left = tuple(node.input_value(0).get_shape())
            total += (
                math.prod(node.output(0).get_shape())
                * left[-2 if node.get_attributes()["transpose_a"] and len(left) > 1 else -1]
            )
    return total
