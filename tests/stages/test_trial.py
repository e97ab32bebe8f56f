"""How the sample is cut into shards."""

from __future__ import annotations

import pytest

from trunkline.backbones.compiled import Compiled
from trunkline.engine import Engine
from trunkline.locations import Location
from trunkline.stages.trial import _rows_per_shard


@pytest.mark.parametrize(
    ("multiply_accumulates", "batch", "most", "rows"),
    [
        (3 * 10**8, 2, 10**6, 64),  # as small as real shards get
        (16 * 10**9, 1, 10**6, 4),  # a slow network: half a second, and four rows at least
        (4 * 10**9, 4, 10**6, 4),
        (2 * 10**9, 2, 10**6, 8),
        (3 * 10**8, 2, 40, 32),  # few images
        (3 * 10**8, 2, 0, 4),
        (16 * 10**9, 24, 10**6, 32),  # a whole batch, and blocks of 1,024 rows are cut evenly
        (3 * 10**8, 1024, 10**6, 256),  # no more than a real shard
    ],
)
def test_shards_of_a_sample_are_short_and_powers_of_two(multiply_accumulates: int, batch: int, most: int, rows: int):
    backbone = Compiled(Location("/nowhere"), "files", 224, "uint8", batch, "f32", {"top": (1280,)}, multiply_accumulates, {})
    engine = Engine("openvino", "f32", 2, 1, 2, batch, 64, 2**29)
    assert _rows_per_shard(backbone, engine, 256, most) == rows
