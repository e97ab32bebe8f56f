"""Repair: what is broken is as it was, bit for bit; what is not keeps its bytes and its time; and no intact row is given up."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.maintenance.conftest import SHARDS, Broken, cut, flip
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import LeaseHeld, SourceError
from trunkline.locations import Location
from trunkline.maintenance import repair as repairing
from trunkline.maintenance.repair import Repaired, repair
from trunkline.maintenance.retry import retry
from trunkline.specs import ClusterSpec
from trunkline.stages.scan import scan
from trunkline.store import lease as leases
from trunkline.store.lease import Lease


def repaired(store: Broken, said: list[str] | None = None) -> Repaired:
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        (done,) = repair(str(store.path), store.verified(), cluster, (said if said is not None else []).append)
    return done


def untouched(store: Broken, before: dict[str, tuple[str, int]], *changed: int) -> None:
    """Every object but those of the changed shards, and what spans all of them, has its bytes and its time."""
    shards = {f"/{SHARDS[number]}" for number in changed} | {f"/c/{number}/" for number in changed}
    rewritten = ("zarr.json", "features.h5")
    for name, what in before.items():
        if not name.endswith(rewritten) and not any(part in name for part in shards):
            assert store.objects().get(name) == what, name


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "record", "swapped"])
def test_broken_shards_are_made_anew_and_nothing_else_is_touched(broken: Broken, damage: str):
    X, y = open_features(broken.features).numpy()
    before = broken.objects()
    changed = [1]
    if damage == "flipped":
        flip(broken.object(1))
    elif damage == "cut":
        cut(broken.object(1))
    elif damage == "gone":
        broken.object(1).unlink()
    elif damage == "record":
        cut(broken.record(1))
    else:
        first, second = broken.object(0).read_bytes(), broken.object(1).read_bytes()
        broken.object(0).write_bytes(second)
        broken.object(1).write_bytes(first)
        changed = [0, 1]
    said: list[str] = []
    done = repaired(broken, said)
    assert done.again == tuple(SHARDS[number] for number in changed)
    assert (done.kept, done.left, done.lost) == ((), (), ())
    assert broken.whats() == []
    again = open_features(broken.features)
    np.testing.assert_array_equal(again.numpy()[0], X)
    assert (again.numpy()[1] == y).all()
    untouched(broken, before, *changed)
    assert f"shard {SHARDS[1]}: 64 rows are extracted again" in said
    assert repairing.READERS_BREAK in said
    assert broken.run()["extracted"] == 0


def test_a_torn_object_at_the_end_of_a_batch_is_made_anew(broken: Broken):
    X, _ = open_features(broken.features).numpy()
    cut(broken.object(2))  # its shard ends before its object does
    assert repaired(broken).again == (SHARDS[2],)
    np.testing.assert_array_equal(open_features(broken.features).numpy()[0], X)


@pytest.mark.parametrize(
    "name",
    [
        "features/*/*/moments/*064-*.npz",
        "features/*/*/report.json",
        "heads/*/*/*/head.json",
        "heads/*/*/*/linear.safetensors",
        "predictions/*/*/*.parquet",
    ],
)
def test_what_is_derived_is_deleted_and_the_next_run_makes_it_anew(in_zarr: Broken, name: str):
    names = set(in_zarr.objects())
    before = {each: what for each, what in in_zarr.objects().items() if each.startswith("features") and "report" not in each}
    (place,) = in_zarr.path.glob(name)
    cut(place)
    deleted = repaired(in_zarr).deleted
    assert len(deleted) == 1
    assert in_zarr.whats() == []
    in_zarr.run()
    if "moments" not in name:  # they are made where a mask is fitted
        assert {each for each in in_zarr.objects() if not each.startswith("runs/")} >= {
            each for each in names if not each.startswith("runs/")
        }
        assert before.items() <= in_zarr.objects().items()
    assert in_zarr.whats() == []


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_headers_of_arrays_are_made_anew_over_the_objects_that_are_there(broken: Broken, damage: str):
    X, _ = open_features(broken.features).numpy()
    before = broken.objects()
    name = "features.zarr/avg_pool/zarr.json" if broken.format == "zarr" else "features.h5"
    if damage == "cut":
        cut(broken.features / name)
    else:
        (broken.features / name).unlink()
    assert repaired(broken).again == ()
    assert broken.whats() == []
    np.testing.assert_array_equal(open_features(broken.features).numpy()[0], X)
    untouched(broken, before)


def test_records_are_forgotten_by_the_cache_first_and_go_before_their_objects(broken: Broken, monkeypatch: pytest.MonkeyPatch):
    sealed = broken.features / "sealed" / "000000.parquet"
    sealed.parent.mkdir()
    sealed.write_bytes(b"a cache")
    assert broken.verified().unknown == ()
    flip(broken.object(1))
    gone: list[str] = []
    remove = Location.remove

    def noted(place: Location) -> None:
        if place.uri.startswith(str(broken.features)):
            gone.append(place.uri.removeprefix(f"{broken.features}/").split("/")[0])
        remove(place)

    monkeypatch.setattr(Location, "remove", noted)
    repaired(broken)
    arrays = "features.zarr" if broken.format == "zarr" else "parts"
    assert gone == ["sealed", "commits", arrays, "moments"]
    assert not sealed.parent.exists()


@pytest.mark.slow
@pytest.mark.parametrize("last", ["sealed", "commits", "objects", "moments"])
def test_a_repair_that_is_ended_between_two_steps_is_finished_by_the_next_run(
    broken: Broken, last: str, monkeypatch: pytest.MonkeyPatch
):
    X, _ = open_features(broken.features).numpy()
    flip(broken.object(1))
    order = ["sealed", "commits", "objects", "moments"]
    remove = Location.remove
    left = [order.index(last) + 1]

    def ends(place: Location) -> None:
        remove(place)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Location, "remove", ends)
        with pytest.raises(KeyboardInterrupt):
            repaired(broken)
    if last == "sealed":
        assert repaired(broken).again == (SHARDS[1],)
    else:
        assert len(open_features(broken.features).rows()) == 96  # what is half repaired is not visible
        assert broken.run()["extracted"] == 64
    np.testing.assert_array_equal(open_features(broken.features).numpy()[0], X)
    assert broken.whats() == []


@pytest.mark.parametrize("loss", ["gone", "changed", "removed"])
def test_intact_rows_without_an_image_stay_and_damaged_ones_come_back_as_new_rows(broken: Broken, loss: str):
    fs = open_features(broken.features)
    X, _ = fs.numpy()
    ids = fs.index()["id"].to_pylist()
    flip(broken.object(1), 3000 if broken.format == "zarr" else 2048 + 5120 * 7)
    damaged = list(broken.verified().feature_sets[0].broken[0].damaged)
    intact = next(row for row in range(127, 63, -1) if row not in damaged)
    image = broken.path.parent / "images" / ids[intact]
    if loss == "changed":
        shutil.copy(broken.images[0], image)
    else:
        image.unlink()
    if loss == "removed":
        scan(broken.spec)
    before = broken.objects()
    said: list[str] = []
    done = repaired(broken, said)
    assert (done.again, done.kept, done.left) == ((), (SHARDS[1],), ())
    assert [row.row for row in done.lost] == damaged
    assert "1 intact rows have no image to make them anew from; its intact rows stay" in " ".join(said)
    assert broken.whats() == []
    untouched(broken, before, 1)
    record = pq.read_table(broken.record(1)).to_pylist()
    assert [row["row"] for row in record if row["reason"] == "damaged"] == damaged
    kept = open_features(broken.features).feature_set.arrays.read("avg_pool", 0, 160)
    others = [row for row in range(160) if row not in damaged]
    np.testing.assert_array_equal(kept[others], X[others])
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        (retried,) = retry(str(broken.path), reasons=["damaged"], cluster=cluster)
    assert list(retried.retried) == [ids[row] for row in damaged]
    again = open_features(broken.features)
    new = [again.index()["id"].to_pylist()[::-1].index(ids[row]) for row in damaged]
    rows = [again.index()["row"].to_pylist()[::-1][place] for place in new]
    np.testing.assert_array_equal(again.read(np.array(rows)), X[damaged])


def test_a_damaged_row_without_an_image_goes_to_quarantine_and_is_named(broken: Broken):
    ids = open_features(broken.features).index()["id"].to_pylist()
    cut(broken.object(1))
    (broken.path.parent / "images" / ids[70]).unlink()
    said: list[str] = []
    done = repaired(broken, said)
    assert (done.again, [(row.row, row.id, row.why) for row in done.lost]) == ((SHARDS[1],), [(70, ids[70], "missing")])
    assert f"Not to be restored: 1 rows: {ids[70]} (missing)" in " ".join(said)
    assert broken.whats() == []
    index = open_features(broken.features).index()
    assert [row["row"] for row in index.to_pylist() if row["status"] == "quarantined"] == [70]


def test_without_its_images_a_shard_is_left_alone(broken: Broken):
    cut(broken.object(1))
    before = broken.objects()
    for image in broken.images:
        image.unlink()
    done = repaired(broken)
    assert (done.again, done.kept, done.left) == ((), (), (SHARDS[1],))
    assert broken.objects() == before
    shutil.rmtree(broken.path.parent / "images")
    with pytest.raises(SourceError, match=r"The source .* does not exist"):
        repaired(broken)
    assert broken.objects() == before


def test_with_a_lost_record_and_a_lost_image_nothing_is_given_up_unasked(broken: Broken):
    ids = open_features(broken.features).index()["id"].to_pylist()
    cut(broken.record(1))
    (broken.path.parent / "images" / ids[70]).unlink()
    before = broken.objects()
    said: list[str] = []
    assert repaired(broken, said).left == (SHARDS[1],)
    assert broken.objects() == before
    assert "its record is damaged, and 1 images are gone or changed whose features may be intact" in " ".join(said)
    scan(broken.spec)
    assert repaired(broken).again == (SHARDS[1],)
    assert broken.whats() == []


def test_without_its_backbone_no_shard_is_touched(in_zarr: Broken):
    flip(in_zarr.object(1))
    shutil.rmtree(in_zarr.path / "backbones")
    before = in_zarr.objects()
    said: list[str] = []
    assert repaired(in_zarr, said).left == (SHARDS[1],)
    assert in_zarr.objects() == before
    assert "No shard is touched" in " ".join(said)


def test_what_another_run_holds_is_not_repaired(in_zarr: Broken, monkeypatch: pytest.MonkeyPatch):
    flip(in_zarr.object(1))
    before = in_zarr.objects()
    folder = Location.of(in_zarr.features / "leases")
    lease = Lease(folder, 9, "elsewhere", 1, "some boot:1", "another")
    lease.location.write(lease.to_bytes())
    monkeypatch.setattr(leases, "_goes_stale", lambda *_: False)
    with pytest.raises(LeaseHeld):
        repaired(in_zarr)
    assert in_zarr.objects() == before
