"""What a run is asked to do: frozen models that validate, digest, and read and write YAML."""

from trunkline.specs.backfill import BackfillSpec, RecipeSpec
from trunkline.specs.base import Digest, Name, Spec, digest_of
from trunkline.specs.cluster import ClusterSpec, KubernetesSpec, TlsSpec
from trunkline.specs.command import run_command
from trunkline.specs.filter import SelectSpec
from trunkline.specs.finetune import AugmentationSpec, FinetuneSpec
from trunkline.specs.form import Form
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
from trunkline.specs.loading import build_spec, content_of, load_yaml, validated
from trunkline.specs.run import Recipe, RunSpec
from trunkline.specs.work import EngineSpec, StorageSpec

__all__ = [
    "HEAD_SPECS",
    "NO_COLUMNS",
    "AugmentationSpec",
    "BackfillSpec",
    "BoostedSpec",
    "CentroidSpec",
    "ClusterSpec",
    "ColumnsSpec",
    "Digest",
    "EngineSpec",
    "FinetuneSpec",
    "ForestSpec",
    "Form",
    "HeadBase",
    "HeadSpec",
    "KubernetesSpec",
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
    "TlsSpec",
    "TreeSpec",
    "build_spec",
    "content_of",
    "digest_of",
    "load_yaml",
    "run_command",
    "validated",
]
