"""From a measured sample to the time of a whole extraction."""

from __future__ import annotations

import pytest

from trunkline.blocks import Timings
from trunkline.estimate import Arrival, bottleneck, extraction_seconds, is_enough, pace, seconds_an_image


def steady(shards: int, slots: int, start: float = 5.0, seconds: float = 0.5, rows: int = 64) -> list[Arrival]:
    """All slots commit together, a round every `seconds`, the first one `start + seconds` after workers were asked for."""
    return [Arrival(start + seconds * (1 + number // slots), rows) for number in range(shards)]


def test_the_pace_leaves_the_start_out():
    found = pace(steady(40, slots=4), 4)
    assert found.images_per_second == pytest.approx(512)
    assert found.starting == pytest.approx(5.0)
    assert (found.rows, found.seconds) == (36 * 64, pytest.approx(4.5))


def test_only_whole_rounds_count():
    arrivals = steady(40, slots=4)
    assert pace([*arrivals, Arrival(10.1, 64)], 4) == pace(arrivals, 4)


def test_a_slow_first_shard_is_part_of_starting():
    arrivals = [Arrival(9.0, 64), *(Arrival(9.0 + number, 64) for number in range(1, 5))]
    assert pace(arrivals, 1).images_per_second == pytest.approx(64)
    assert pace(arrivals, 1).starting == pytest.approx(8.0)


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_without_a_round_after_the_warm_up_all_there_is_counts(count: int):
    arrivals = steady(count, slots=4)
    found = pace(arrivals, 4)
    assert found.starting == 0.0
    assert found.images_per_second == pytest.approx(64 * count / arrivals[-1].seconds)


def test_measuring_goes_on_until_it_is_stable_long_enough_or_through():
    def enough(shards: int, seconds: float = 0.5, rows: int = 10**9) -> bool:
        return is_enough(steady(shards, 4, seconds=seconds), 4, rows)

    assert not enough(4)  # the warm-up alone
    assert not enough(10)  # no whole round
    assert not enough(24)  # stable, but for two and a half seconds only
    assert enough(40)
    assert enough(8, rows=512)  # as many rows as there are to do
    assert not enough(8, rows=513)
    assert enough(8, seconds=20.0)  # it has taken its time


def test_a_pace_that_still_changes_is_measured_longer():
    slow = steady(20, 4)
    faster = [Arrival(slow[-1].seconds + 0.2 * (1 + number // 4), 64) for number in range(20)]
    assert not is_enough([*slow, *faster], 4, 10**9)


def test_workers_that_idle_at_the_end_take_time():
    assert extraction_seconds(1024, 16, 2, 512.0) == pytest.approx(2.0)
    assert extraction_seconds(64, 1, 2, 512.0) == pytest.approx(0.25)  # one of two workers does it all
    assert extraction_seconds(192, 3, 2, 512.0) == pytest.approx(0.5)
    assert extraction_seconds(0, 0, 2, 512.0) == 0.0


def test_the_bottleneck_is_what_takes_longest_with_its_own_streams():
    timings = [Timings(8.0, 6.0, 5.0, 0.5, 0.0), Timings(8.0, 6.0, 5.0, 0.5, 0.0)]
    parts = seconds_an_image(timings, 10)
    assert parts == pytest.approx({"read": 1.6, "decode": 1.2, "forward": 1.0, "write": 0.1})
    assert bottleneck(parts, {"read": 16, "decode": 2, "forward": 1, "write": 2}) == "forward"
    assert bottleneck(parts, {"read": 1, "decode": 2, "forward": 2, "write": 2}) == "read"
