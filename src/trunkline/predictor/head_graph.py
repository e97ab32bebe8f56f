"""Heads as ONNX operators, after the features of a backbone."""

from __future__ import annotations

from trunkline.errors import BackboneError
from trunkline.heads.opening import OpenHead
from trunkline.predictor.dense_chain import chain_of
from trunkline.predictor.onnx_graph import Graph

ACTIVATIONS = {"softmax": "Softmax", "sigmoid": "Sigmoid", "relu": "Relu", "tanh": "Tanh", "linear": "Identity"}


def output_of(head: OpenHead) -> str:
    """What the predictor's output is called."""
    return "values" if head.target.kind == "regression" else "probabilities"


def append_head(graph: Graph, features: str, head: OpenHead) -> None:
    """Operators from `features` (n, dim), all columns, to the output (n, k), float32. Raises BackboneError for a kind that has none."""
    output = output_of(head)
    if chain := chain_of(head):
        for number, layer in enumerate(chain, 1):
            numbers = [
                graph.constant(each, f"head_{number}/{what}")
                for each, what in ((layer.weights, "weights"), (layer.bias, "bias"))
            ]
            made = graph.node("Gemm", [features, *numbers], f"head_{number}")
            attributes = {"axis": -1} if layer.activation == "softmax" else {}
            base = output if number == len(chain) else f"head_{number}/{layer.activation}"
            features = graph.node(ACTIVATIONS[layer.activation], [made], base, **attributes)
        return
    raise BackboneError(f"A head of the kind {head.kind} has no form in ONNX here yet. Export another one with --head.")
