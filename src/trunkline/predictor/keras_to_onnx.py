"""A functional Keras model as ONNX operators, layer by layer; models inside it are laid out flat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trunkline.predictor.keras_convolutions import unknown
from trunkline.predictor.keras_layers import LAYERS, combined, reduced
from trunkline.predictor.onnx_graph import Graph, Value


def converted(graph: Graph, model: Any, inputs: list[Value]) -> list[Value]:
    """Add a model's operators to a graph.

    Parameters
    ----------
    model : keras.Model, functional, of fixed sizes but for the batch.
    inputs : in the model's order.

    Returns
    -------
    Its outputs, in the model's order.

    Raises
    ------
    BackboneError : a layer, or a setting of one, that is not known here; it is named.
    """
    values: dict[int, Value] = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.operation is None or node.is_input:
                continue
            given = [values[id(tensor)] for tensor in node.input_tensors]
            for tensor, value in zip(node.outputs, _operation(graph, node, given), strict=True):
                values[id(tensor)] = value
    return [values[id(tensor)] for tensor in model.outputs]


def _operation(graph: Graph, node: Any, given: list[Value]) -> list[Value]:
    operation = node.operation
    inner = getattr(operation, "_functional", operation)  # a sequential model holds a functional one
    if hasattr(inner, "_nodes_by_depth"):
        return converted(graph, inner, given)
    kind = type(operation).__name__
    if hasattr(operation, "compute_output_spec") and type(operation).__module__.startswith("keras.src.ops."):
        return _split(graph, node, given[0]) if kind == "Split" else [_plain_operation(graph, node, kind, given)]
    if kind not in LAYERS:
        raise unknown(operation, "layers of this kind are not among those that are known")
    return [LAYERS[kind](graph, operation, given)]


def _plain_operation(graph: Graph, node: Any, kind: str, given: list[Value]) -> Value:
    """An operation of `keras.ops` on one value and numbers, as truncated networks hold them."""
    operation, numbers = node.operation, [each for each in node.arguments.args[1:] if isinstance(each, int | float)]
    if kind == "GetItem" and _is_reversed(node):
        turned = graph.constant(np.arange(given[0].shape[-1] - 1, -1, -1, dtype=np.int64), "reversed")
        tensor = graph.node("Gather", [graph.last(given[0]), turned], "reversed", axis=-1)
        return Value(given[0].shape, tensor, dtype=given[0].dtype)
    if kind == "Cast" and operation.dtype in ("float32", "float16"):
        return given[0] if given[0].dtype == operation.dtype else graph.cast(given[0], operation.dtype)
    if kind in _REDUCED and _is_over_pixels(operation, given[0]):
        return reduced(graph, _REDUCED[kind], given[0], keep=bool(operation.keepdims), base=operation.name)
    if kind == "Sum" and operation.axis in (-1, [-1], (-1,)) and operation.keepdims and given[0].is_map:
        axes = graph.constant([1 if given[0].first else 3], "axes")
        tensor = graph.node("ReduceSum", [given[0].first or given[0].last, axes], operation.name, keepdims=1)
        shape = (*given[0].shape[:-1], 1)
        return Value(shape, first=tensor) if given[0].first else Value(shape, tensor)
    if kind in _WITH_NUMBER and len(given) == 1 and len(numbers) == 1:
        return graph.each(graph.floats(given[0]), _WITH_NUMBER[kind], [graph.constant(float(numbers[0]))], operation.name)
    if kind in _WITH_NUMBER and len(given) == 2:
        return combined(graph, _WITH_NUMBER[kind], given, operation)
    raise unknown(operation, "this operation is none that truncated networks need")


def _split(graph: Graph, node: Any, value: Value) -> list[Value]:
    """A map into equal groups of channels."""
    parts = len(node.outputs)
    shapes = {tuple(each.shape[1:]) for each in node.outputs}
    if not value.is_map or shapes != {(*value.shape[:-1], value.shape[-1] // parts)}:
        raise unknown(node.operation, "it splits something other than the channels of a map into equal parts")
    lengths = graph.constant([value.shape[-1] // parts] * parts, "lengths")
    names = graph.nodes_out("Split", [graph.first(value), lengths], node.operation.name, outputs=parts, axis=1)
    return [Value(shape, first=name) for shape, name in zip([*shapes] * parts, names, strict=True)]


_REDUCED: Mapping[str, str] = {"Mean": "ReduceMean", "Max": "ReduceMax"}
_WITH_NUMBER: Mapping[str, str] = {
    "Add": "Add",
    "Subtract": "Sub",
    "Multiply": "Mul",
    "Divide": "Div",
    "TrueDivide": "Div",
    "Maximum": "Max",
    "Minimum": "Min",
    "Power": "Pow",
}


def _is_reversed(node: Any) -> bool:
    """Channels in the other order: `pixels[..., ::-1]`."""
    key = [*node.arguments.args[1:], *node.arguments.kwargs.values()]
    return len(key) == 1 and key[0] == (Ellipsis, slice(None, None, -1))


def _is_over_pixels(operation: Any, value: Value) -> bool:
    axes = operation.axis if isinstance(operation.axis, list | tuple) else (operation.axis,)
    return sorted(axes) == list(range(1, len(value.shape)))
