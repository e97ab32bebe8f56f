"""Times and counts as people say them."""

from __future__ import annotations

import pytest

from trunkline.wording import counted, in_time


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (3.14, "3.1 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3 * 3600 + 65, "3 h 01 min"),
    ],
)
def test_two_units_at_most(seconds: float, said: str):
    assert in_time(seconds) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 orphans"), (1, "1 orphan"), (2, "2 orphans"), (12_345, "12,345 orphans")])
def test_one_of_a_kind(count: int, said: str):
    assert counted(count, "orphan") == said
    assert counted(count, "batch", "batches") == said.replace("orphans", "batches").replace("orphan", "batch")
