"""A backfill: which rows of a dataset under which recipes, in slices, and how far it may go."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from trunkline.specs.base import Name, Spec
from trunkline.specs.cluster import ClusterSpec
from trunkline.specs.form import given, told, when
from trunkline.specs.images import Preparation
from trunkline.specs.run import RunSpec, refuse_what_does_not_go_together
from trunkline.specs.work import EngineSpec, StorageSpec

SLICE_IMAGES = 20_480
RANGE = re.compile(r"(\d{0,15}):(\d{0,15})")

Range = Annotated[
    str, Field(min_length=1, max_length=31, json_schema_extra={"pattern": "^([0-9]{1,15}:[0-9]{0,15}|:[0-9]{1,15})$"})
]


def _alone(name: str, *others: str) -> dict[str, Any]:
    """A rule: where one field says which rows, the others are left empty."""
    return when(given(name, "string"), **{other: {"enum": [None]} for other in others})


class RecipeSpec(Spec):
    """One recipe: what decides a feature's value. Several of them share one reading and decoding of each image."""

    RULES: ClassVar = ({"if": told("maps", "kept"), "then": told("pooling", "none")},)

    backbone: str = Field(
        "efficientnet-lite0",
        min_length=1,
        title="Backbone",
        description="a name that `trunkline backbones` lists, or a .onnx, .keras or .h5 file with a .yaml beside it",
    )
    weights: str | None = Field(
        None,
        min_length=1,
        title="Weights",
        description="the backbone's own pre-trained ones by default; a weights file; or random",
    )
    layers: tuple[str, ...] = Field(
        (),
        title="Layers",
        description="where the backbone is cut, by name or index, one array each; before its classifier by default",
    )
    pooling: Literal["avg", "max", "gem", "none"] = Field(
        "avg", title="Pooling", description="how a feature map becomes a vector"
    )
    maps: Literal["flat", "kept"] = Field(
        "flat", title="Maps", description="without pooling: a row a map, or (height, width, channels)"
    )
    precision: Literal["f32", "bf16", "mixed_float16"] = Field(
        "f32",
        title="Precision",
        description="bf16 on CPUs that have it, mixed_float16 on GPUs: faster, and slightly other features",
    )
    dtype: Literal["float32", "float16"] | None = Field(
        None, title="Data type", description="of stored features; what storage says by default"
    )
    preparation: Preparation = Field(
        Preparation(), title="Preparation", description="how an image becomes the network's pixels"
    )

    @field_validator("layers")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names the same one twice")
        return value

    @property
    def said(self) -> str:
        """In a few words: backbone, layers, and what is not the default."""
        layers = f" at {', '.join(self.layers)}" if self.layers else ""
        other = [value for value, default in ((self.pooling, "avg"), (self.precision, "f32")) if value != default]
        return f"{self.backbone}{layers}" + (f" ({', '.join(other)})" if other else "")


class BackfillSpec(Spec):
    """Rows of a dataset extracted under one recipe or several, in slices; what is committed already is not computed again.

    At most one of `rows`, `batches`, and `since` with `until` says which rows; all of the dataset's are meant without.
    """

    FIRST: ClassVar = (
        "store",
        "dataset",
        "recipes",
        "rows",
        "batches",
        "since",
        "until",
        "max_images",
        "max_hours",
        "priority",
    )
    RULES: ClassVar = (
        _alone("rows", "batches", "since", "until"),
        _alone("batches", "rows", "since", "until"),
        _alone("since", "rows", "batches"),
        _alone("until", "rows", "batches"),
    )

    store: str = Field(min_length=1, title="Store", description="root of the feature store, a path or any fsspec URL")
    dataset: Name | None = Field(
        None, title="Dataset", description="which one of the store; needed only where the store holds several"
    )
    rows: Range | None = Field(
        None,
        title="Rows",
        description="first and last row as FIRST:STOP, STOP not included, such as 0:100000; either may be left out; widened to shards",
    )
    batches: Range | None = Field(
        None,
        title="Batches",
        description="the scans' batches as FIRST:STOP, STOP not included, counted from 0; 3: means the fourth and all after it",
    )
    since: date | None = Field(None, title="Since", description="batches that were scanned on this day (UTC) or later")
    until: date | None = Field(None, title="Until", description="batches that were scanned on this day (UTC) or earlier")
    recipes: tuple[RecipeSpec, ...] = Field(
        (),
        max_length=16,
        title="Recipes",
        description="backbones, layers, pooling; all share one decode of each image. Empty: every feature set the dataset has",
    )
    storage: StorageSpec = Field(
        StorageSpec(), title="Storage", description="how new feature sets lie; those that are there stay as they are"
    )
    slice_images: int = Field(
        SLICE_IMAGES,
        ge=64,
        le=1_000_000,
        title="Images a slice",
        description="a slice is a run of its own, to be seen, cancelled and retried alone; 20,480 take some 3 minutes at 100 images/s",
    )
    max_images: int | None = Field(
        None,
        ge=1,
        title="At most so many images",
        description="then it ends; start it again to go on. Rounded up to whole shards",
    )
    max_hours: float | None = Field(
        None,
        gt=0.0,
        allow_inf_nan=False,
        title="At most so many hours",
        description="then it ends, once the shards in progress are committed; start it again to go on",
    )
    priority: int = Field(
        0,
        ge=0,
        le=100,
        title="Priority",
        description="of backfills on one store those with the higher number go first; fresh batches go before all of them",
    )
    newest_first: bool = Field(False, title="Newest first", description="begin with the rows that were scanned last")
    price_per_worker_hour: float | None = Field(
        None,
        ge=0.0,
        allow_inf_nan=False,
        title="Price of a worker's hour",
        description="in any currency; the cost so far is then shown",
    )
    max_bad_fraction: float = Field(
        0.05, ge=0.0, le=1.0, title="Bad images", description="stop a slice when more of its images cannot be read"
    )
    cluster: ClusterSpec = Field(ClusterSpec(), title="Cluster", description="where shards run")
    engine: EngineSpec = Field(
        EngineSpec(), title="Engine", description="how a worker uses its machine; chosen from the machine by default"
    )
    runtime: Literal["auto", "openvino", "tensorflow"] = Field(
        "auto", title="Runtime", description="openvino on CPUs, tensorflow on GPUs"
    )

    @field_validator("rows", "batches")
    @classmethod
    def _is_a_range(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = RANGE.fullmatch(value)
        if not found or value == ":":
            raise ValueError("a range is FIRST:STOP, two whole numbers of which one may be left out, such as 0:100000 or 2048:")
        first, stop = bounds(value)
        if stop is not None and stop <= first:
            raise ValueError(f"a range begins before it ends; {first} is not before {stop}")
        return value

    @field_validator("recipes")
    @classmethod
    def _no_recipe_twice(cls, value: tuple[RecipeSpec, ...]) -> tuple[RecipeSpec, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names the same recipe twice")
        return value

    @model_validator(mode="after")
    def _one_choice_of_rows(self) -> BackfillSpec:
        dates = " and ".join(name for name in ("since", "until") if getattr(self, name) is not None)
        given = [*(name for name in ("rows", "batches") if getattr(self, name) is not None), *([dates] if dates else [])]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both say which rows; give one of rows, batches, and since with until")
        if self.since and self.until and self.until < self.since:
            raise ValueError(f"until ({self.until}) is before since ({self.since}), so no scan lies between them")
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> BackfillSpec:
        for recipe in self.recipes:
            refuse_what_does_not_go_together(recipe.maps, recipe.pooling, recipe.precision, self.runtime)
        return self

    def run_spec(self, recipe: RecipeSpec, source: str, dataset: str) -> RunSpec:
        """What a run of this recipe alone would be asked."""
        said = {name: getattr(recipe, name) for name in RecipeSpec.model_fields if name != "dtype"}
        storage = self.storage.model_copy(update={"dtype": recipe.dtype or self.storage.dtype})
        shared = {name: getattr(self, name) for name in ("store", "cluster", "engine", "runtime", "max_bad_fraction")}
        return RunSpec(source=source, dataset=dataset, storage=storage, **said, **shared)


def bounds(value: str) -> tuple[int, int | None]:
    """First and stop of a range that was validated; None where it is open."""
    first, stop = value.split(":")
    return int(first or 0), int(stop) if stop else None
