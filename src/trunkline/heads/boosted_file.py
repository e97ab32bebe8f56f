"""XGBoost's JSON, looked at before XGBoost follows the node numbers in it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from trunkline.errors import CorruptStore
from trunkline.heads.targets import Target

NUMBERS = ("base_weights", "split_conditions", "sum_hessian", "loss_changes")
ROOT = 2**31 - 1  # the parent of a root


def loaded(content: bytes, name: str, objective: str, target: Target) -> Any:
    """A Booster. Raises CorruptStore for a damaged file, and for one that holds anything but sound trees for this target."""
    import xgboost

    try:
        _refuse_unsound(json.loads(content), objective, target)
        return xgboost.Booster(model_file=bytearray(content))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, xgboost.core.XGBoostError) as error:
        words = " ".join(str(error).split())[:300]
        raise CorruptStore(
            f"{name} of the saved head is damaged, or holds something other than boosted trees for this target "
            f"({type(error).__name__}: {words}). Do not trust this file. Delete the head: it is fitted again."
        ) from error


def _refuse_unsound(said: Any, objective: str, target: Target) -> None:
    """Raises ValueError, or what Python raises for a thing of another form."""
    learner = said["learner"]
    parameters = learner["learner_model_param"]
    features = int(parameters["num_feature"])
    outputs = max(int(parameters["num_class"]), int(parameters["num_target"]))
    if learner["objective"]["name"] != objective or outputs != target.outputs or features < 1:
        raise ValueError(
            f"{learner['objective']['name']!r} with {outputs} outputs, where {objective!r} with {target.outputs} is due"
        )
    if learner["gradient_booster"]["name"] != "gbtree":
        raise ValueError(f"a booster of the kind {learner['gradient_booster']['name']!r}")
    model = learner["gradient_booster"]["model"]
    trees, groups, rounds = model["trees"], model["tree_info"], model["iteration_indptr"]
    if int(model["gbtree_model_param"]["num_trees"]) != len(trees) or len(groups) != len(trees):
        raise ValueError(f"{len(trees)} trees where others are announced")
    if not all(type(group) is int and 0 <= group < outputs for group in groups):
        raise ValueError("a tree for an output that there is not")
    if rounds[0] != 0 or rounds[-1] != len(trees) or sorted(rounds) != rounds:
        raise ValueError("rounds that do not add up to the trees")
    for number, tree in enumerate(trees):
        if not _is_sound(tree, features):
            raise ValueError(f"tree {number} points outside itself")


def _is_sound(tree: Any, features: int) -> bool:
    """Every inner node has two children further down, whose parent it is, and a feature there is; nothing is categorical."""
    nodes, size = int(tree["tree_param"]["num_nodes"]), int(tree["tree_param"]["size_leaf_vector"])
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    tested, parents = np.array(tree["split_indices"]), np.array(tree["parents"])
    whole = (left, right, tested, parents, np.array(tree["default_left"]), np.array(tree["split_type"]))
    numbers = [np.array(tree[name], np.float64) for name in NUMBERS]
    if (
        nodes < 1
        or size > 1
        or int(tree["tree_param"].get("num_deleted", 0))
        or int(tree["tree_param"]["num_feature"]) != features
    ):
        return False
    if any(each.shape != (nodes,) or each.dtype.kind not in "iu" for each in whole):
        return False
    if any(each.shape != (nodes,) or not np.isfinite(each).all() for each in numbers):
        return False
    if any(tree[name] for name in ("categories", "categories_nodes", "categories_segments", "categories_sizes")):
        return False
    leaf = left == -1
    inner = np.flatnonzero(~leaf)
    children = np.stack([left[inner], right[inner]])
    return bool(
        (right[leaf] == -1).all()
        and (children > inner).all()
        and (children < nodes).all()
        and (parents[children] == inner).all()
        and parents[0] == ROOT
        and (tested[inner] >= 0).all()
        and (tested[inner] < features).all()
        and not whole[-1].any()
    )
