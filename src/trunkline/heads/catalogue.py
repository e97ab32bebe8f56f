"""All heads by kind: fitting one, and reading a saved one back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from trunkline.errors import CorruptStore
from trunkline.heads.boosted import Boosted, fit_boosted
from trunkline.heads.centroid import fit_centroid
from trunkline.heads.linear import fit_linear
from trunkline.heads.linear_head import LinearHead
from trunkline.heads.mlp import Mlp, fit_mlp
from trunkline.heads.neighbours import Neighbours, fit_neighbours
from trunkline.heads.protocol import FittedHead, Work
from trunkline.heads.ridge import fit_ridge
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.heads.trees import Trees, fit_trees
from trunkline.specs import (
    BoostedSpec,
    CentroidSpec,
    ForestSpec,
    HeadSpec,
    MlpSpec,
    NeighboursSpec,
    RidgeSpec,
    SoftmaxSpec,
    SvmSpec,
    TreeSpec,
)


def fit_head(spec: HeadSpec, data: TrainingData, work: Work) -> FittedHead:
    """Fit on training rows; several candidates are cross-validated over `data.folds` first."""
    match spec:
        case SoftmaxSpec() | SvmSpec():
            return fit_linear(spec, data, work)
        case RidgeSpec():
            return fit_ridge(spec, data, work)
        case CentroidSpec():
            return fit_centroid(data)
        case NeighboursSpec():
            return fit_neighbours(spec, data, work)
        case TreeSpec() | ForestSpec():
            return fit_trees(spec, data, work)
        case BoostedSpec():
            return fit_boosted(spec, data, work)
        case MlpSpec():
            return fit_mlp(spec, data, work)
        case _:
            assert_never(spec)


def load_head(kind: str, files: Mapping[str, bytes], target: Target) -> FittedHead:
    """A saved head. Raises CorruptStore where files are missing, damaged, or hold something else than such a head."""
    try:
        match kind:
            case "softmax" | "svm" | "ridge" | "centroid":
                return LinearHead.load(files)
            case "knn":
                return Neighbours.load(files, target)
            case "tree" | "forest":
                return Trees.load(files, target)
            case "boosted":
                return Boosted.load(files, target)
            case "mlp":
                return Mlp.load(files, target)
    except KeyError as error:
        raise CorruptStore(f"The saved {kind} head lacks the file {error}. Delete the head: it is fitted again.") from error
    raise CorruptStore(f"A saved head says that it is of the kind {kind!r}, which this version does not know.")
