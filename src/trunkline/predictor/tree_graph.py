"""Decision trees as one operator of ai.onnx.ml: scikit-learn's trees and forests, XGBoost's boosted ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.boosted import Boosted
from trunkline.heads.targets import Target
from trunkline.heads.trees import Trees
from trunkline.heads.trees_file import classes_by_output, estimators_of
from trunkline.predictor.onnx_graph import Graph

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Tree:
    """One tree, node by node; a node without children (left −1) is a leaf.

    Parameters
    ----------
    left, right, feature : (nodes,) int; the left child is taken where the test is met.
    threshold : (nodes,) float32.
    leaves, outputs, weights : (m,) each: what leaf adds how much to which output.
    """

    left: Numbers
    right: Numbers
    feature: Numbers
    threshold: NDArray[np.float32]
    leaves: Numbers
    outputs: Numbers
    weights: NDArray[np.float32]


def append_trees(graph: Graph, features: str, head: Trees, columns: NDArray[np.bool_], output: str) -> None:
    """The mean over scikit-learn's trees, of `features` with all columns."""
    trees = list(_of_scikit_learn(head))
    _append(graph, features, trees, columns, "BRANCH_LEQ", head.target.outputs, None, output)


def append_boosted(graph: Graph, features: str, head: Boosted, columns: NDArray[np.bool_], output: str) -> None:
    """The sum over XGBoost's trees, and what its objective makes of it."""
    learner = json.loads(head.content)["learner"]
    trees = list(_of_xgboost(learner["gradient_booster"]["model"]))
    base = _margins(learner["learner_model_param"]["base_score"], head.target)
    last = {"classes": "Softmax", "multilabel": "Sigmoid", "regression": ""}[head.target.kind]
    inner = "margins" if last else output
    made = _append(graph, features, trees, columns, "BRANCH_LT", head.target.outputs, base, inner)
    if last:
        graph.node(last, [made], output, **({"axis": -1} if last == "Softmax" else {}))


def _of_scikit_learn(head: Trees) -> Iterator[Tree]:
    estimators = estimators_of(head.model)
    for each in estimators:
        tree = each.tree_
        leaf = np.flatnonzero(tree.children_left == -1)
        shares = tree.value[leaf] / len(estimators)  # (leaves, outputs, classes)
        placed = [(place, shares[:, output, number]) for place, output, number in _places(head)]
        weights = np.stack([values for _, values in placed], axis=1)
        outputs = np.tile([place for place, _ in placed], len(leaf))
        kept = np.ravel(weights != 0)
        kept[:: len(placed)] = True  # each leaf is mentioned at least once
        yield Tree(
            left=tree.children_left,
            right=tree.children_right,
            feature=np.maximum(tree.feature, 0),
            threshold=_at_most(tree.threshold),
            leaves=np.repeat(leaf, len(placed))[kept],
            outputs=outputs[kept],
            weights=np.ravel(weights)[kept].astype(np.float32),
        )


def _places(head: Trees) -> list[tuple[int, int, int]]:
    """(output of the head, output of the trees, its class): as `Trees.outputs` places them."""
    if head.target.kind == "regression":
        return [(0, 0, 0)]
    if head.target.kind == "classes":
        return [(int(number), 0, place) for place, number in enumerate(head.model.classes_)]
    found = []
    for label, classes in enumerate(classes_by_output(head.model)):
        found += [(label, label, place) for place in np.flatnonzero(np.asarray(classes) == 1).tolist()[:1]]
    return found


def _at_most(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above: then x ≤ threshold means the same for every float32 x."""
    rounded = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)


def _of_xgboost(model: Mapping[str, Any]) -> Iterator[Tree]:
    for tree, group in zip(model["trees"], model["tree_info"], strict=True):
        left = np.array(tree["left_children"])
        values = np.array(tree["split_conditions"], np.float32)
        leaf = np.flatnonzero(left == -1)
        yield Tree(
            left=left,
            right=np.array(tree["right_children"]),
            feature=np.array(tree["split_indices"]),
            threshold=values,
            leaves=leaf,
            outputs=np.full(len(leaf), group),
            weights=values[leaf],
        )


def _margins(said: str, target: Target) -> NDArray[np.float32]:
    """The base score of each output before the objective's function: XGBoost keeps that of a logistic as a probability."""
    found = json.loads(said)
    scores = np.array(found if isinstance(found, list) else [found], np.float64)
    if target.kind == "multilabel":
        scores = np.log(scores / (1.0 - scores))
    return np.broadcast_to(scores, (target.outputs,)).astype(np.float32)


def _append(
    graph: Graph,
    features: str,
    trees: Sequence[Tree],
    columns: NDArray[np.bool_],
    test: str,
    outputs: int,
    base: NDArray[np.float32] | None,
    output: str,
) -> str:
    numbers = np.flatnonzero(columns)  # the trees know kept columns only
    of_nodes = [np.full(len(each.left), number) for number, each in enumerate(trees)]
    of_leaves = [np.full(len(each.leaves), number) for number, each in enumerate(trees)]
    is_leaf = np.concatenate([each.left for each in trees]) == -1

    def joined(name: str) -> Numbers:
        return np.concatenate([getattr(each, name) for each in trees])

    def inner(values: Numbers) -> list[Any]:
        found: list[Any] = np.where(is_leaf, 0, values).tolist()
        return found

    return graph.node(
        "TreeEnsembleRegressor",
        [features],
        output,
        domain="ai.onnx.ml",
        n_targets=outputs,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=None if base is None else base.tolist(),
        nodes_treeids=np.concatenate(of_nodes).tolist(),
        nodes_nodeids=np.concatenate([np.arange(len(each.left)) for each in trees]).tolist(),
        nodes_featureids=inner(numbers[np.where(is_leaf, 0, joined("feature"))]),
        nodes_modes=np.where(is_leaf, "LEAF", test).tolist(),
        nodes_values=[float(each) for each in inner(joined("threshold"))],
        nodes_truenodeids=inner(joined("left")),
        nodes_falsenodeids=inner(joined("right")),
        target_treeids=np.concatenate(of_leaves).tolist(),
        target_nodeids=joined("leaves").tolist(),
        target_ids=joined("outputs").tolist(),
        target_weights=joined("weights").tolist(),
    )
