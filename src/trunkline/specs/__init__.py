"""What a run is asked to do: frozen models that validate, digest, and read and write YAML."""

from trunkline.specs.backfill import BackfillSpec, RecipeSpec
from trunkline.specs.base import Digest, Name, Spec, digest_of
from trunkline.specs.filter import SelectSpec
from trunkline.specs.heads import (
    HEAD_SPECS,
    BoostedSpec,
    CentroidSpec,
    ForestSpec,
    HeadBase,
    HeadSpec,
    MlpSpec,
    NeighboursSpec,
    RidgeSpec,
    SoftmaxSpec,
    SvmSpec,
    TargetKind,
    TargetSpec,
    TreeSpec,
)
from trunkline.specs.images import NO_COLUMNS, ColumnsSpec, Preparation, SplitSpec
from trunkline.specs.loading import build_spec, load_yaml
from trunkline.specs.run import Recipe, RunSpec
from trunkline.specs.work import ClusterSpec, EngineSpec, StorageSpec

__all__ = [
    "HEAD_SPECS",
    "NO_COLUMNS",
    "BackfillSpec",
    "BoostedSpec",
    "CentroidSpec",
    "ClusterSpec",
    "ColumnsSpec",
    "Digest",
    "EngineSpec",
    "ForestSpec",
    "HeadBase",
    "HeadSpec",
    "MlpSpec",
    "Name",
    "NeighboursSpec",
    "Preparation",
    "Recipe",
    "RecipeSpec",
    "RidgeSpec",
    "RunSpec",
    "SelectSpec",
    "SoftmaxSpec",
    "Spec",
    "SplitSpec",
    "StorageSpec",
    "SvmSpec",
    "TargetKind",
    "TargetSpec",
    "TreeSpec",
    "build_spec",
    "digest_of",
    "load_yaml",
]
