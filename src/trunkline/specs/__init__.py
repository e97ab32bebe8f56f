"""What a run is asked to do: frozen models that validate, digest, and read and write YAML."""

from trunkline.specs.base import Digest, Name, Spec, digest_of
from trunkline.specs.cluster import ClusterSpec, KubernetesSpec, TlsSpec
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
from trunkline.specs.loading import build_spec, built, load_yaml
from trunkline.specs.run import Recipe, RunSpec
from trunkline.specs.work import EngineSpec, StorageSpec

__all__ = [
    "HEAD_SPECS",
    "NO_COLUMNS",
    "BoostedSpec",
    "CentroidSpec",
    "ClusterSpec",
    "ColumnsSpec",
    "Digest",
    "EngineSpec",
    "ForestSpec",
    "HeadBase",
    "HeadSpec",
    "KubernetesSpec",
    "MlpSpec",
    "Name",
    "NeighboursSpec",
    "Preparation",
    "Recipe",
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
    "built",
    "digest_of",
    "load_yaml",
]
