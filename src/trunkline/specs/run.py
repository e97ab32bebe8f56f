"""`RunSpec` is what the user says; `Recipe` is the part of it that decides a feature's value, with the backbone resolved."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from trunkline.specs.base import Digest, Name, Spec
from trunkline.specs.cluster import ClusterSpec
from trunkline.specs.filter import SelectSpec
from trunkline.specs.form import told, when
from trunkline.specs.heads import HEAD_SPECS, ForestSpec, HeadSpec, RidgeSpec, SoftmaxSpec, TargetSpec
from trunkline.specs.images import NO_COLUMNS, ColumnsSpec, Preparation, SplitSpec
from trunkline.specs.work import EngineSpec, StorageSpec

HEADS_IN_A_FORM: dict[str, Any] = {
    "uniqueItems": True,
    "default": [{"kind": "softmax"}, {"kind": "forest"}],
    "description": "fitted on what the filter keeps. A kind is enough; the menu beside a head takes JSON, for settings such as "
    '{"kind": "softmax", "C": [0.01, 0.1]}',
}


def _only_heads_for(kind: str) -> dict[str, Any]:
    """A rule: where the target is of a kind, only heads that can predict it."""
    able = [each.model_fields["kind"].default for each in HEAD_SPECS if kind in each.TARGETS]
    return when(
        {"properties": {"target": told("kind", kind)}, "required": ["target"]},
        heads={"items": {"properties": {"kind": {"enum": able}}}},
    )


class RunSpec(Spec):
    """Everything a run needs; only `source` and `store` have no default."""

    FIRST: ClassVar = (
        *(
            "source",
            "store",
            "dataset",
            "backbone",
            "layers",
            "labels",
            "target",
            "heads",
            "select",
            "cluster",
            "precision",
            "pooling",
        ),
        *(
            "maps",
            "preparation",
            "weights",
            "runtime",
            "storage",
            "split",
            "max_bad_fraction",
            "max_removed_fraction",
            "drift_warning",
        ),
    )
    RULES: ClassVar = (
        {"if": told("maps", "kept"), "then": told("pooling", "none")},
        when(told("precision", "bf16"), runtime={"enum": ["auto", "openvino"]}),
        when(told("precision", "mixed_float16"), runtime={"enum": ["auto", "tensorflow"]}),
        *(_only_heads_for(kind) for kind in ("multilabel", "regression")),
    )

    source: str = Field(
        min_length=1,
        description="folder of images, glob, table of URIs (.csv, .parquet) or .tar shards; a path or any fsspec URL",
    )
    store: str = Field(min_length=1, description="root of the feature store, a path or any fsspec URL")
    dataset: Name | None = Field(None, description="name in the store; the source folder's name by default")
    labels: Literal["folders", "none"] = Field(
        "folders", description="folders: class folders, optionally under train/ test/ val/"
    )
    source_kind: Literal["auto", "folder", "glob", "table", "tar", "bytes"] = Field(
        "auto",
        description="what the source is; bytes: images in a Parquet column; auto looks at its name and at what lies there",
    )
    columns: ColumnsSpec = NO_COLUMNS
    split: SplitSpec = SplitSpec()
    backbone: str = Field(
        "efficientnet-lite0",
        min_length=1,
        description="a name that `trunkline backbones` lists, or a .onnx, .keras or .h5 file with a .yaml beside it",
    )
    weights: str | None = Field(
        None, min_length=1, description="the backbone's own pre-trained ones by default; a weights file; or random"
    )
    layers: tuple[str, ...] = Field(
        (),
        json_schema_extra={"uniqueItems": True},
        description="where the backbone is cut, by name or index, one array each; before its classifier by default",
    )
    pooling: Literal["avg", "max", "gem", "none"] = Field("avg", description="how a feature map becomes a vector")
    maps: Literal["flat", "kept"] = Field("flat", description="without pooling: a row a map, or (height, width, channels)")
    precision: Literal["f32", "bf16", "mixed_float16"] = Field(
        "f32", description="bf16 on CPUs that have it, mixed_float16 on GPUs: faster, and slightly other features"
    )
    preparation: Preparation = Preparation()
    storage: StorageSpec = StorageSpec()
    select: SelectSpec = SelectSpec()
    target: TargetSpec = TargetSpec()
    heads: tuple[HeadSpec, ...] = Field(
        (SoftmaxSpec(), ForestSpec()),
        json_schema_extra=HEADS_IN_A_FORM,
        description="fitted on what the filter keeps: softmax, svm, ridge, centroid, knn, tree, forest, boosted, mlp; ridge and "
        "forest by default where the target is a regression",
    )
    cluster: ClusterSpec = ClusterSpec()
    engine: EngineSpec = EngineSpec()
    runtime: Literal["auto", "openvino", "tensorflow"] = Field("auto", description="openvino on CPUs, tensorflow on GPUs")
    max_bad_fraction: float = Field(0.05, ge=0.0, le=1.0, description="stop when more of the images cannot be read")
    max_removed_fraction: float = Field(0.10, ge=0.0, le=1.0, description="stop a scan that would remove more of a dataset")
    drift_warning: float = Field(
        0.5,
        ge=0.0,
        allow_inf_nan=False,
        description="warn of a batch whose mean features lie further from the training images', in their standard deviations",
    )
    seed: int = Field(0, description="of cross-validation folds and forests")

    @field_validator("layers", "heads")
    @classmethod
    def _no_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names the same one twice")
        return value

    @model_validator(mode="before")
    @classmethod
    def _heads_of_a_regression(cls, said: Any) -> Any:
        """Where no heads are named, those that can predict numbers."""
        if isinstance(said, dict) and "heads" not in said and _kind_of(said.get("target")) == "regression":
            return {**said, "heads": (RidgeSpec(), ForestSpec())}
        return said

    @model_validator(mode="after")
    def _heads_fit_the_target(self) -> RunSpec:
        for head in self.heads:
            if self.target.kind not in head.TARGETS:
                able = ", ".join(each.model_fields["kind"].default for each in HEAD_SPECS if self.target.kind in each.TARGETS)
                raise ValueError(f"the head {head.kind} cannot predict {self.target.kind}; those that can: {able}")
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> RunSpec:
        refuse_what_does_not_go_together(self.maps, self.pooling, self.precision, self.runtime)
        return self

    @property
    def dataset_name(self) -> str:
        """The given name, or one made from the source's last path part without wildcards."""
        if self.dataset:
            return self.dataset
        parts = [part for part in self.source.split("/") if part and "*" not in part and "?" not in part]
        last = parts[-1] if parts else ""
        name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in last).strip("._-")[:64]
        return name or "images"


def refuse_what_does_not_go_together(maps: str, pooling: str, precision: str, runtime: str) -> None:
    """Raises ValueError for settings of a recipe and its runtime that contradict each other."""
    if maps == "kept" and pooling != "none":
        raise ValueError("maps: kept needs pooling: none; a pooled map is a vector")
    if precision == "bf16" and runtime == "tensorflow":
        raise ValueError("precision bf16 runs on openvino; leave runtime out")
    if precision == "mixed_float16" and runtime == "openvino":
        raise ValueError("precision mixed_float16 runs on tensorflow; leave runtime out")


def _kind_of(target: Any) -> Any:
    return target.get("kind") if isinstance(target, dict) else getattr(target, "kind", None)


class Recipe(Spec):
    """Everything that decides a feature's value. Its digest names the feature set.

    `layers` are names, never indices. `pixels` is what the network takes: uint8, or float32 where rounding after the resize would
    move features.
    """

    backbone: str
    weights: Digest
    layers: tuple[str, ...]
    size: int
    fit: str
    kernel: str
    decoder: str
    normalisation: str
    precision: str
    dtype: str
    pooling: str = "avg"
    maps: str = "flat"
    antialias: bool = False
    exif: str = "upright"
    decode: str = "exact"
    pixels: str = "uint8"
