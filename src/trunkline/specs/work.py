"""How features lie, and how a worker uses its machine."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from trunkline.compression import CODECS, Compression
from trunkline.specs.base import Spec
from trunkline.specs.form import told, when

ROWS_PER_SHARD = (64, 128, 256, 512, 1024)


def _codecs(format: str) -> str:
    """A pattern of the compressions of a format: a codec, and its level where it has some."""
    return "^(" + "|".join(f"{name}(-[0-9]+)?" if most else name for name, (_, most) in CODECS[format].items()) + ")$"


class StorageSpec(Spec):
    """How features lie in the store; fixed when a feature set is created."""

    RULES: ClassVar = (
        when(told("format", "hdf5"), compression={"pattern": _codecs("hdf5")}),
        {"if": told("format", "hdf5"), "then": True, "else": {"properties": {"compression": {"pattern": _codecs("zarr")}}}},
    )

    format: Literal["zarr", "hdf5"] = Field("zarr", description="zarr on any storage, hdf5 on a local disk")
    rows_per_shard: Annotated[int, WithJsonSchema({"type": "integer", "enum": list(ROWS_PER_SHARD)})] | None = Field(
        None, description="a power of two from 64 to 1024; chosen from the data by default"
    )
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
        if value is not None and value not in ROWS_PER_SHARD:
            raise ValueError("must be 64, 128, 256, 512 or 1024")
        return value

    @model_validator(mode="after")
    def _compression_is_there(self) -> StorageSpec:
        Compression.of(self.compression, self.format)
        return self


class EngineSpec(Spec):
    """How a worker uses its machine; nothing here is part of the recipe. What is left out is chosen from the machine and recorded."""

    batch: int | None = Field(None, ge=1, le=1024, description="images a forward pass")
    threads: int | None = Field(None, ge=1, description="cores of a worker's forward pass")
    readers: int | None = Field(None, ge=1, le=256, description="threads of a worker that read and decode")
    in_flight_mib: int = Field(512, ge=16, description="MiB of files and decoded images that a worker holds at most")
