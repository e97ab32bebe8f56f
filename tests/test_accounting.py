"""Every row of a manifest is counted once, whatever was committed or removed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.manifests import appended, fresh
from trunkline.accounting import RowCounts, account
from trunkline.blocks import FeatureBlock, RowRecord, Timings
from trunkline.manifest import Manifest
from trunkline.shards import Shard, plan
from trunkline.sources import Listed
from trunkline.store.commits import Commit

NO_TIME = Timings(0, 0, 0, 0, 0)


def manifest_of(*batches: tuple[int, list[int]]) -> Manifest:
    """One batch a pair: how many images it adds, which rows it removes."""
    manifest = fresh()
    for number, (images, removed) in enumerate(batches):
        added = [Listed(f"{number}/{each}.jpg", 1, "1") for each in range(images)]
        manifest = appended(manifest, added, removed)
    return manifest


def commit_of(shard: Shard, statuses: list[str]) -> Commit:
    records = [
        RowRecord(row, f"{row}.jpg", "1", status, reason="truncated" if status == "quarantined" else "")
        for row, status in zip(range(shard.start, shard.stop), statuses, strict=True)
    ]
    block = FeatureBlock(shard, {}, records, NO_TIME)
    return Commit.of(block, recipe="", rows_digest="", lease=1, environment={}, timings=NO_TIME)


def test_nothing_is_nothing():
    assert account(manifest_of(), []).counts == RowCounts(0, 0, 0, 0, 0)


def test_what_is_not_committed_is_pending_and_what_lies_between_batches_is_void():
    found = account(manifest_of((100, []), (50, [])), [commit_of(Shard(0, 64), ["ok"] * 60 + ["quarantined"] * 4)])
    assert found.counts == RowCounts(ok=60, quarantined=4, pending=86, removed=0, void=1024 - 100)
    assert found.reasons == {"truncated": 4}
    assert found.counts.live == 150
    assert found.counts.rows == 1074


def test_a_removed_row_counts_as_removed_alone():
    commits = [commit_of(Shard(0, 64), ["quarantined", "ok", "void"] + ["ok"] * 61)]
    found = account(manifest_of((64, []), (0, [0, 1, 2])), commits)
    assert found.counts == RowCounts(ok=61, quarantined=0, pending=0, removed=3, void=960)
    assert found.reasons == {}


@given(st.data())
def test_the_books_always_balance(data):
    batches, rows = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        images = data.draw(st.integers(0, 200))
        removed = sorted(data.draw(st.sets(st.sampled_from(rows), max_size=30))) if rows else []
        start = len(batches) * 1024
        rows = [row for row in rows if row not in removed] + list(range(start, start + images))
        batches.append((images, removed))
    manifest = manifest_of(*batches)
    gone = set(manifest.removed.tolist())
    commits, expected, reasons = [], {"ok": 0, "quarantined": 0}, 0
    for shard in plan(manifest.spans, 64):
        if data.draw(st.booleans()):
            status = data.draw(st.sampled_from(["ok", "quarantined"]))
            # a row removed before it was read is void in its record
            statuses = ["void" if row in gone and row % 2 else status for row in range(shard.start, shard.stop)]
            commits.append(commit_of(shard, statuses))
            live = sum(row not in gone for row in range(shard.start, shard.stop))
            expected[status] += live
            reasons += live * (status == "quarantined")
    counts = (found := account(manifest, commits)).counts
    assert (counts.ok, counts.quarantined) == (expected["ok"], expected["quarantined"])
    assert counts.removed == len(gone)
    assert counts.live == len(rows)
    assert counts.rows == manifest.rows
    assert sum(found.reasons.values()) == reasons
