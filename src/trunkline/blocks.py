"""The one block type: what extraction makes of a shard, and what the store writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline.shards import Shard


class Status(StrEnum):
    """What became of a row. `void` holds no image: a number left unused, or an image removed before it was read."""

    OK = "ok"
    QUARANTINED = "quarantined"
    PENDING = "pending"
    VOID = "void"


class RowRecord(NamedTuple):
    """One row of a commit record; `sha256` of the image's bytes, `feature` a digest of the stored feature over all layers."""

    row: int
    id: str
    version: str
    status: str
    reason: str = ""
    detail: str = ""
    sha256: str = ""
    size: int = 0
    feature: str = ""


@dataclass(frozen=True)
class Timings:
    """Seconds of a shard: read and decode summed over threads; `first_read` and `committed` in seconds since 1970."""

    read: float
    decode: float
    forward: float
    write: float
    first_read: float
    committed: float = 0.0


@dataclass(frozen=True)
class FeatureBlock:
    """A shard's features: layer → (shard.rows, dim), NaN where a row has no feature; and one record a row, in row order."""

    shard: Shard
    features: Mapping[str, NDArray[np.float32]]
    records: Sequence[RowRecord]
    timings: Timings


def feature_digest(rows: Sequence[NDArray[np.float32]]) -> str:
    """Of one image's features, a row a layer: 16 hex digits of BLAKE2b over the stored bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        digest.update(row.tobytes())
    return digest.hexdigest()


def rows_digest(images: pa.Table) -> str:
    """Of (row, id, version) of the rows a commit record lists, 64 hex digits; labels and splits are not in it."""
    digest = hashlib.sha256()
    for row, image_id, version in zip(*(images[name].to_pylist() for name in ("row", "id", "version")), strict=True):
        digest.update(f"{row}\0{image_id}\0{version}\0\0".encode())
    return digest.hexdigest()
