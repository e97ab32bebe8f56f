"""What a run is asked to do: frozen models that validate, digest, and read and write YAML.

`RunSpec` is what the user says; `Recipe` is the part of it that decides a feature's value, with the backbone resolved.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trunkline.compression import Compression
from trunkline.errors import SpecError, did_you_mean

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]


class Spec(BaseModel):
    """Base of all specs: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 16 hex digits. Optional fields at their default do not enter, so new ones change nothing."""
        required = {name for name, field in type(self).model_fields.items() if field.is_required()}
        said = self.model_dump(mode="json", exclude_defaults=True)
        said |= {name: value for name, value in self.model_dump(mode="json").items() if name in required}
        return digest_of(said)


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value in canonical form, first 16 hex digits."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class Preparation(Spec):
    """How an image becomes the network's pixels; part of the recipe."""

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


class StorageSpec(Spec):
    """How features lie in the store; fixed when a feature set is created."""

    format: Literal["zarr", "hdf5"] = Field("zarr", description="zarr on any storage, hdf5 on a local disk")
    rows_per_shard: int | None = Field(None, description="a power of two from 64 to 1024; chosen from the data by default")
    ignore_free_space: bool = Field(
        False, description="start though the features, before compression, are more than the disk has free"
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="float16: half the size, 3 digits, another feature set; part of the recipe"
    )
    compression: str | None = Field(
        None,
        min_length=1,
        description="zarr: zstd (the default), blosc-lz4, blosc-zstd, gzip or none; hdf5: none (the default) or gzip; zstd-9 names a level",
    )

    @field_validator("rows_per_shard")
    @classmethod
    def _power_of_two(cls, value: int | None) -> int | None:
        if value is not None and value not in (64, 128, 256, 512, 1024):
            raise ValueError("must be 64, 128, 256, 512 or 1024")
        return value

    @model_validator(mode="after")
    def _compression_is_there(self) -> StorageSpec:
        Compression.of(self.compression, self.format)
        return self


class SelectSpec(Spec):
    """The variance filter, over the training split."""

    relative_threshold: float = Field(
        0.05, ge=0.0, description="keep features whose variance exceeds this share of the median variance"
    )
    threshold: float | None = Field(None, ge=0.0, description="keep features whose variance exceeds this value, instead")


class SoftmaxSpec(Spec):
    """Multinomial logistic regression, L2; C chosen by stratified cross-validation on the training split."""

    kind: Literal["softmax"] = "softmax"
    C: tuple[float, ...] = Field(
        (0.0001, 0.001, 0.01, 0.1, 1.0), min_length=1, description="inverse regularisation, candidates"
    )
    folds: int = Field(3, ge=2, le=20, description="cross-validation folds")
    max_iterations: int = Field(300, ge=1, description="L-BFGS iterations a fit")

    @field_validator("C")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < c < math.inf for c in value):
            raise ValueError("every C must be a number above 0")
        return tuple(sorted(value))


class ForestSpec(Spec):
    """Random forest."""

    kind: Literal["forest"] = "forest"
    trees: int = Field(200, ge=1, le=10_000)
    max_depth: int | None = Field(None, ge=1)


HeadSpec = Annotated[SoftmaxSpec | ForestSpec, Field(discriminator="kind")]


class ClusterSpec(Spec):
    """Where shards run."""

    kind: Literal["inline", "local", "cuda", "address", "auto"] = Field(
        "auto",
        description="inline: this process; local: workers on this machine; cuda: one a GPU; address: an existing scheduler",
    )
    workers: int | None = Field(None, ge=1, description="worker processes; one a core by default")
    address: str | None = Field(None, description="scheduler address such as tcp://host:8786, for kind address")


class EngineSpec(Spec):
    """How a worker uses its machine; nothing here is part of the recipe. What is left out is chosen from the machine and recorded."""

    batch: int | None = Field(None, ge=1, le=1024, description="images a forward pass")
    threads: int | None = Field(None, ge=1, description="cores of a worker's forward pass")
    readers: int | None = Field(None, ge=1, le=256, description="threads of a worker that read and decode")
    in_flight_mib: int = Field(512, ge=16, description="MiB of files and decoded images that a worker holds at most")


class RunSpec(Spec):
    """Everything a run needs; only `source` and `store` have no default."""

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
        (), description="where the backbone is cut, by name or index, one array each; before its classifier by default"
    )
    pooling: Literal["avg", "max", "gem", "none"] = Field("avg", description="how a feature map becomes a vector")
    maps: Literal["flat", "kept"] = Field("flat", description="without pooling: a row a map, or (height, width, channels)")
    precision: Literal["f32", "bf16", "mixed_float16"] = Field(
        "f32", description="bf16 on CPUs that have it, mixed_float16 on GPUs: faster, and slightly other features"
    )
    preparation: Preparation = Preparation()
    storage: StorageSpec = StorageSpec()
    select: SelectSpec = SelectSpec()
    heads: tuple[HeadSpec, ...] = Field(
        (SoftmaxSpec(), ForestSpec()), description="classifiers on what the filter keeps: softmax, forest"
    )
    cluster: ClusterSpec = ClusterSpec()
    engine: EngineSpec = EngineSpec()
    runtime: Literal["auto", "openvino", "tensorflow"] = Field("auto", description="openvino on CPUs, tensorflow on GPUs")
    max_bad_fraction: float = Field(0.05, ge=0.0, le=1.0, description="stop when more of the images cannot be read")
    max_removed_fraction: float = Field(0.10, ge=0.0, le=1.0, description="stop a scan that would remove more of a dataset")
    seed: int = Field(0, description="of cross-validation folds and forests")

    @field_validator("layers", "heads")
    @classmethod
    def _no_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names the same one twice")
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> RunSpec:
        if self.maps == "kept" and self.pooling != "none":
            raise ValueError("maps: kept needs pooling: none; a pooled map is a vector")
        if self.precision == "bf16" and self.runtime == "tensorflow":
            raise ValueError("precision bf16 runs on openvino; leave runtime out")
        if self.precision == "mixed_float16" and self.runtime == "openvino":
            raise ValueError("precision mixed_float16 runs on tensorflow; leave runtime out")
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


def load_yaml(path: str) -> RunSpec:
    """Read a spec.yaml. Raises SpecError that names the key, its value and the near ones."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"Cannot read the spec {path}: {error.strerror}. `trunkline init` writes one to start from.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"The spec {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise SpecError(f"The spec {path} holds no mapping of keys to values. `trunkline init` writes one to start from.")
    return build_spec(content, where=path)


def build_spec(content: dict[str, Any], where: str) -> RunSpec:
    """Validate; `where` names the origin in the error."""
    try:
        return RunSpec.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{where}: " + "; ".join(_in_words(dict(problem)) for problem in error.errors())) from error


def _in_words(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}.{did_you_mean(str(problem['loc'][-1]), _known_keys())}"
    if problem["type"] == "missing":
        return f"{key!r} is missing; it has no default"
    if not key:  # two settings that do not go together
        return str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    return f"{key!r} is {given!r}: {problem['msg'].removeprefix('Value error, ').lower()}"


def _known_keys() -> set[str]:
    models = (
        RunSpec,
        ColumnsSpec,
        Preparation,
        SplitSpec,
        StorageSpec,
        SelectSpec,
        SoftmaxSpec,
        ForestSpec,
        ClusterSpec,
        EngineSpec,
    )
    return {name for model in models for name in model.model_fields}
