"""What a run is asked to do: frozen models that validate, digest, and read and write YAML."""

from trunkline.specs.base import Digest, Name, Spec, digest_of
from trunkline.specs.filter import SelectSpec
from trunkline.specs.heads import ForestSpec, HeadSpec, SoftmaxSpec
from trunkline.specs.images import NO_COLUMNS, ColumnsSpec, Preparation, SplitSpec
from trunkline.specs.loading import build_spec, load_yaml
from trunkline.specs.run import Recipe, RunSpec
from trunkline.specs.work import ClusterSpec, EngineSpec, StorageSpec

__all__ = [
    "NO_COLUMNS",
    "ClusterSpec",
    "ColumnsSpec",
    "Digest",
    "EngineSpec",
    "ForestSpec",
    "HeadSpec",
    "Name",
    "Preparation",
    "Recipe",
    "RunSpec",
    "SelectSpec",
    "SoftmaxSpec",
    "Spec",
    "SplitSpec",
    "StorageSpec",
    "build_spec",
    "digest_of",
    "load_yaml",
]
