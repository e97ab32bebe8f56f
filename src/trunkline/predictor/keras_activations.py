"""Keras's activations as ONNX operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trunkline.errors import BackboneError
from trunkline.predictor.onnx_graph import Graph, Value

ROOT_HALF = 0.7071067811865476


def activated(graph: Graph, layer: Any, value: Value) -> Value:
    """The layer's activation of a value. Raises BackboneError for one that is not known."""
    name = getattr(layer.activation, "__name__", str(layer.activation))
    if name not in ACTIVATIONS:
        raise BackboneError(
            f"The layer {layer.name!r} ({type(layer).__name__}) cannot be written as ONNX: the activation {name} is none of "
            f"{', '.join(ACTIVATIONS)}. Bring the network as an ONNX file instead."
        )
    return ACTIVATIONS[name](graph, value, f"{layer.name}/{name}")


def _plain(kind: str, **attributes: Any) -> Callable[[Graph, Value, str], Value]:
    return lambda graph, value, base: graph.each(value, kind, base=base, **attributes)


def _linear(_graph: Graph, value: Value, _base: str) -> Value:
    return value


def _relu6(graph: Graph, value: Value, base: str) -> Value:
    return graph.each(value, "Clip", [graph.constant(0.0), graph.constant(6.0)], base)


def _softmax(graph: Graph, value: Value, base: str) -> Value:
    return Value(value.shape, graph.node("Softmax", [graph.last(value)], base, axis=-1))


def _times(graph: Graph, value: Value, factor: Value, base: str) -> Value:
    """Both come from the same value, so their axes are in the same order."""
    return graph.each(value, "Mul", [factor.first or factor.last], base)


def _silu(graph: Graph, value: Value, base: str) -> Value:
    return _times(graph, value, graph.each(value, "Sigmoid", base=base), base)


def _gelu(graph: Graph, value: Value, base: str) -> Value:
    """The exact one: x · ½ · (1 + erf(x / √2))."""
    inner = graph.each(graph.each(value, "Mul", [graph.constant(ROOT_HALF)], base), "Erf", base=base)
    half = graph.each(graph.each(inner, "Add", [graph.constant(1.0)], base), "Mul", [graph.constant(0.5)], base)
    return _times(graph, value, half, base)


ACTIVATIONS: Mapping[str, Callable[[Graph, Value, str], Value]] = {
    "linear": _linear,
    "relu": _plain("Relu"),
    "relu6": _relu6,
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "softmax": _softmax,
    "silu": _silu,
    "hard_sigmoid": _plain("HardSigmoid", alpha=1.0 / 6.0, beta=0.5),
    "hard_silu": _plain("HardSwish"),
    "gelu": _gelu,
    "elu": _plain("Elu", alpha=1.0),
    "selu": _plain("Selu"),
    "softplus": _plain("Softplus"),
    "softsign": _plain("Softsign"),
    "exponential": _plain("Exp"),
    "leaky_relu": _plain("LeakyRelu", alpha=0.2),
}
