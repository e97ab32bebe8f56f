"""A made store that many tests only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reading.made import Made, ids

BAD = frozenset({3, 70})
REMOVED = 5


@pytest.fixture(scope="session")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three batches, none to be changed: 100 apples and 50 pears; 30 figs, and apple 5 is gone; 10 kiwis that are not extracted yet.

    Rows 0 to 149, 1024 to 1053, 2048 to 2057; rows 3 and 70 are quarantined. Shards of 64 rows.
    """
    made = Made(tmp_path_factory.mktemp("fruit") / "store")
    made.scan([*ids("apple", 100), *ids("pear", 50)])
    made.extract(bad=BAD)
    made.scan(ids("fig", 30), removed=[REMOVED])
    made.extract()
    made.scan(ids("kiwi", 10))
    return made


@pytest.fixture
def writable(tmp_path: Path) -> Made:
    """Two shards of plums, extracted, to go on writing."""
    made = Made(tmp_path / "store")
    made.scan(ids("plum", 100))
    made.extract()
    return made
