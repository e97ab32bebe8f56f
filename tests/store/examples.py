"""A recipe, shards and features that no network had to compute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.blocks import FeatureBlock, RowRecord, Status, Timings
from trunkline.shards import Shard
from trunkline.specs import Recipe
from trunkline.store.commits import Commit

DIMS = {"early": 3, "late": 5}


def recipe(backbone: str = "efficientnet-lite0") -> Recipe:
    return Recipe(
        backbone=backbone,
        weights="0123456789abcdef",
        layers=tuple(DIMS),
        size=224,
        fit="crop",
        kernel="bilinear",
        decoder="some/1",
        normalisation="(x - 127) / 128",
        precision="f32",
        dtype="float32",
    )


def features(shard: Shard) -> dict[str, NDArray[np.float32]]:
    """Values that say where they stand: row + column / 1000 + 0.5 in the second layer."""
    rows = np.arange(shard.start, shard.stop, dtype=np.float32)[:, None]
    return {
        layer: (rows + np.arange(dim, dtype=np.float32) / 1000 + number / 2).astype(np.float32)
        for number, (layer, dim) in enumerate(DIMS.items())
    }


def commit(shard: Shard, lease: int = 1) -> Commit:
    records = [RowRecord(row, f"{row}.png", "v", Status.OK) for row in range(shard.start, shard.stop)]
    timings = Timings(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    block = FeatureBlock(shard, features(shard), records, timings)
    return Commit.of(block, recipe="r", rows_digest="d", lease=lease, environment={"python": "3"}, timings=timings)
