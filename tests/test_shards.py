"""Shards: every row once, on boundaries, the same plan everywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.shards import BLOCK, MAX_OBJECT_BYTES, MAX_SHARD_SECONDS, Shard, plan, remaining, rows_per_shard

rows = st.sampled_from([64, 128, 256, 512, 1024])


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Row ranges as a manifest makes them: each starts on a block boundary after the one before."""
    spans, start = [], 0
    for images in draw(st.lists(st.integers(0, 5000), max_size=6)):
        spans.append((start, start + images))
        start = -(-(start + images) // BLOCK) * BLOCK
    return spans


@given(batches(), rows)
def test_a_plan_has_every_row_of_every_batch_once_and_in_order(spans, size):
    planned = [row for shard in plan(spans, size) for row in range(shard.start, shard.stop)]
    assert planned == [row for start, stop in spans for row in range(start, stop)]


@given(batches(), rows)
def test_a_shard_is_aligned_not_empty_and_within_one_block_and_batch(spans, size):
    for shard in plan(spans, size):
        assert shard.start % size == 0
        assert 0 < shard.rows <= size
        assert shard.start // BLOCK == (shard.stop - 1) // BLOCK
        assert any(start <= shard.start and shard.stop <= stop for start, stop in spans)
        assert shard.rows == size or any(shard.stop == stop for _, stop in spans)


@given(batches(), rows, st.integers(1, 3000))
def test_a_new_batch_leaves_the_shards_there_are(spans, size, more):
    before = list(plan(spans, size))
    end = spans[-1][1] if spans else 0
    start = -(-end // BLOCK) * BLOCK
    assert list(plan([*spans, (start, start + more)], size))[: len(before)] == before


@given(batches(), rows, st.data())
def test_what_remains_and_what_is_done_are_the_plan(spans, size, data):
    shards = list(plan(spans, size))
    done = data.draw(st.sets(st.sampled_from(shards))) if shards else set()
    left = remaining(shards, {shard.name for shard in done})
    assert left == [shard for shard in shards if shard not in done]


def test_names_sort_as_rows_do():
    shards = [Shard(start, start + 64) for start in (0, 64, 1024, 999_999_936, 99_999_999_936)]
    assert sorted(shard.name for shard in shards) == [shard.name for shard in shards]
    assert shards[1].name == "000000000064"


@given(st.integers(0, 10**9), st.integers(4, 10**9), st.floats(1e-5, 1e3), st.integers(1, 1000))
def test_a_shard_is_a_power_of_two_within_all_limits_or_the_smallest(images, row_bytes, seconds, workers):
    size = rows_per_shard(images, row_bytes, seconds, workers)
    assert size in (64, 128, 256, 512, 1024)

    def within(n: int) -> bool:
        return n * row_bytes <= MAX_OBJECT_BYTES and n * seconds <= MAX_SHARD_SECONDS * 1.0001 and n * 8 * workers <= images

    assert size == 64 or within(size)
    assert size == 1024 or not within(2 * size) or abs(2 * size * seconds / MAX_SHARD_SECONDS - 1) < 1e-3


def test_each_limit_alone_decides():
    assert rows_per_shard(10**9, 4, 1e-4, 1) == 1024
    assert rows_per_shard(10**9, 2**16, 1e-4, 1) == 256
    assert rows_per_shard(10**9, 4, 0.1, 1) == 128
    assert rows_per_shard(5000, 4, 1e-4, 1) == 512
    assert rows_per_shard(0, 4, 1e-4, 1) == 64


def test_a_network_that_costs_nothing_gives_the_largest_shards():
    assert rows_per_shard(images=100_000, row_bytes=4, seconds_per_image=0.0, workers=1) == 1024
