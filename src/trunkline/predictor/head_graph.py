"""Heads as ONNX operators, after the features of a backbone: all columns of a layer in, one output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import BackboneError
from trunkline.heads.boosted import Boosted
from trunkline.heads.neighbours import Neighbours
from trunkline.heads.opening import OpenHead
from trunkline.heads.trees import Trees
from trunkline.predictor.dense_chain import DenseLayer, chain_of
from trunkline.predictor.onnx_graph import Graph
from trunkline.predictor.tree_graph import append_boosted, append_trees
from trunkline.wording import in_bytes

ACTIVATIONS = {"softmax": "Softmax", "sigmoid": "Sigmoid", "relu": "Relu", "linear": "Identity"}
MAX_REFERENCES = 2**30  # bytes of training features in one file; ONNX ends at 2 GiB


def output_of(head: OpenHead) -> str:
    """What the predictor's output is called."""
    return "values" if head.target.kind == "regression" else "probabilities"


def append_head(graph: Graph, features: str, head: OpenHead) -> None:
    """Operators from `features` (n, dim) to the output (n, k), float32. Raises BackboneError for a head that has none."""
    output, fitted = output_of(head), head.fitted
    if chain := chain_of(head):
        append_chain(graph, features, chain, output)
    elif isinstance(fitted, Trees):
        append_trees(graph, features, fitted, head.columns, output)
    elif isinstance(fitted, Boosted):
        append_boosted(graph, features, fitted, head.columns, output)
    elif isinstance(fitted, Neighbours):
        append_neighbours(graph, features, fitted, head.columns, output)
    else:
        raise BackboneError(f"A head of the kind {head.kind} has no form in ONNX here. Export another one with --head.")


def append_chain(graph: Graph, features: str, chain: Sequence[DenseLayer], output: str) -> None:
    """Dense layers."""
    for number, layer in enumerate(chain, 1):
        kernel, bias = (
            graph.constant(layer.weights, f"head_{number}/weights"),
            graph.constant(layer.bias, f"head_{number}/bias"),
        )
        made = graph.node("Gemm", [features, kernel, bias], f"head_{number}")
        base = output if number == len(chain) else f"head_{number}/{layer.activation}"
        axis = -1 if layer.activation == "softmax" else None
        features = graph.node(ACTIVATIONS[layer.activation], [made], base, axis=axis)


def append_neighbours(graph: Graph, features: str, head: Neighbours, columns: NDArray[np.bool_], output: str) -> None:
    """All training rows as one product of matrices; of equal distances the first rows vote, as they do in the head."""
    if head.references.nbytes > MAX_REFERENCES:
        raise BackboneError(
            f"This knn head holds {in_bytes(head.references.nbytes)} of training features, and an ONNX file of at most "
            f"{in_bytes(MAX_REFERENCES)} of them is written. Export another head with --head, or fit knn on fewer images."
        )
    kept = graph.node("Gather", [features, graph.constant(np.flatnonzero(columns).astype(np.int64))], "kept", axis=1)
    x = graph.node("Sub", [kept, graph.constant(head.standard.mean, "mean")], "centred")
    x = graph.node("Div", [x, graph.constant(head.standard.deviation, "deviation")], "standardised")
    if head.metric == "cosine":
        length = graph.reduce("ReduceL2", x, [1], True, "length")
        x = graph.node("Div", [x, graph.node("Max", [length, graph.constant(float(np.finfo(np.float32).tiny))])], "direction")
    near = graph.node("MatMul", [x, graph.constant(np.ascontiguousarray(head.references.T), "references")], "near")
    if head.metric == "euclidean":
        squares = np.einsum("ij,ij->i", head.references, head.references)
        near = graph.node("Sub", [near, graph.constant(squares / 2, "squares")], "nearer")
    most = graph.constant([min(head.k, len(head.references))], "k")
    _, places = graph.nodes_out("TopK", [near, most], "nearest", outputs=2, axis=1)
    table = (
        head.truth.reshape(len(head.truth), -1) if head.target.kind != "classes" else np.eye(head.target.outputs)[head.truth]
    )
    votes = graph.node("Gather", [graph.constant(table.astype(np.float32), "truth"), places], "votes", axis=0)
    graph.reduce("ReduceMean", votes, [1], False, output)
