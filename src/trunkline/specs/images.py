"""Where images come from, and how they become pixels."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from trunkline.specs.base import Spec
from trunkline.specs.form import given, told, when


class Preparation(Spec):
    """How an image becomes the network's pixels; part of the recipe."""

    RULES: ClassVar = (
        when(
            told("preset", "keras"),
            fit={"enum": ["crop"]},
            kernel={"enum": ["bilinear"]},
            antialias={"enum": [False]},
            exif={"enum": ["upright"]},
            decode={"enum": ["exact"]},
        ),
        when(told("kernel", "area"), antialias={"enum": [False]}),
    )

    preset: Literal["trunkline", "keras"] = Field(
        "trunkline",
        description="keras: pixels as keras.utils.image_dataset_from_directory makes them, in float32; fixes all below but size",
    )
    size: int | None = Field(None, ge=16, le=4096, description="side of the square in pixels; the backbone's own by default")
    fit: Literal["crop", "stretch", "pad"] = Field(
        "crop", description="largest central square, the whole image stretched, or the whole image on a black square"
    )
    kernel: Literal["bilinear", "area", "bicubic", "lanczos"] = Field(
        "bilinear", description="resize kernel; area averages when it shrinks"
    )
    antialias: bool = Field(False, description="widen the kernel when it shrinks; for bilinear, bicubic and lanczos")
    exif: Literal["upright", "ignored"] = Field("upright", description="undo the EXIF orientation, or leave pixels as stored")
    decode: Literal["exact", "scaled"] = Field(
        "exact", description="scaled: large JPEGs are decoded at 1/2, 1/4 or 1/8, no smaller than needed; faster, not the same"
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Preparation:
        fixed = {"preset", "size"}
        if self.preset == "keras" and (said := self.model_fields_set - fixed):
            changed = [name for name in sorted(said) if getattr(self, name) != type(self).model_fields[name].default]
            if changed:
                raise ValueError(f"the preset keras fixes {', '.join(changed)}; leave that out, or the preset")
        if self.antialias and self.kernel == "area":
            raise ValueError("the kernel area averages already; antialias is for bilinear, bicubic and lanczos")
        return self


class ColumnsSpec(Spec):
    """Which columns of a table hold what; for sources that are tables of URIs, or Parquet files with image bytes."""

    RULES: ClassVar = (
        when(given("uri", "string"), image={"type": "null"}),
        {"if": given("size", "string"), "then": {"required": ["version"], "properties": {"version": {"type": "string"}}}},
    )

    id: str | None = Field(None, min_length=1, description="column of ids; the URI, or file and row number, by default")
    uri: str | None = Field(None, min_length=1, description="column of URIs; `uri` by default")
    image: str | None = Field(None, min_length=1, description="column of image bytes in Parquet files; `image` by default")
    label: str | None = Field(None, min_length=1, description="column of labels; `label` where there is one")
    split: str | None = Field(
        None, min_length=1, description="column of splits: train, test or val; `split` where there is one"
    )
    version: str | None = Field(
        None, min_length=1, description="column of versions, which change when an image does; the storage is asked by default"
    )
    size: str | None = Field(None, min_length=1, description="column of sizes in bytes, beside versions")

    @model_validator(mode="after")
    def _goes_together(self) -> ColumnsSpec:
        if self.uri and self.image:
            raise ValueError("a table leads to images by a column of URIs or holds them in a column image; leave one out")
        if self.size and not self.version:
            raise ValueError("a column of sizes needs a column of versions; without one the storage is asked for both")
        return self


NO_COLUMNS = ColumnsSpec()


class SplitSpec(Spec):
    """The hashed split, used where the folders name none."""

    seed: int = Field(0, description="enters the hash of each image's id")
    test_fraction: float = Field(0.2, gt=0.0, lt=1.0, description="share of images whose hash sends them to the test split")
