"""Garbage collection: what killed runs leave goes, what anything refers to stays, and so does whatever is not trunkline's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.maintenance.conftest import SHARDS, Broken
from tests.manifests import say
from trunkline import open_features
from trunkline.locations import Location
from trunkline.maintenance import gc
from trunkline.maintenance.gc import collect
from trunkline.maintenance.listing import Found, objects_below
from trunkline.maintenance.orphans import Orphan
from trunkline.store.feature_set import FeatureSet
from trunkline.store.lease import Lease, hold

HASH = "0123456789ab"


def litter(store: Broken) -> dict[Path, str]:
    """What runs that were killed at every step leave: path → kind."""
    features, path = store.features, store.path
    (recipe,) = [features.name]
    left = {
        path / f".store.json.{HASH}.tmp": "temporary file",
        path / f"datasets/digits/manifest/.batch-000001.parquet.{HASH}.tmp": "temporary file",
        features / f"commits/.000000000064.parquet.{HASH}.tmp": "temporary file",
        features / "moments/000000001024-0123456789abcdef.npz": "moments",
        features / "moments/000000000064-0123456789abcdef.npz": "moments",
        path / f"heads/digits/{recipe}/softmax-{HASH}/linear.safetensors": "head",
        path / f"predictions/digits/{recipe}/softmax-{HASH}.parquet": "predictions",
        path / "features/digits/0123456789abcdef/recipe.json": "feature set",
        path / "backbones/0123456789abcdef/0123456789abcdef/model.bin": "compiled backbone",
        features / "leases/lease-000000.json": "lease",
    }
    if store.format == "zarr":
        left |= {
            features / "features.zarr/avg_pool/c/16/0": "features",
            features / f"features.zarr/avg_pool/c/1/0.{HASH * 2}01234567.partial": "temporary file",
        }
    else:
        left |= {
            features / "parts/000000001024-000000001088.h5": "features",
            features / f"parts/.000000000064-000000000128.h5.{HASH}.tmp": "temporary file",
        }
    for place in left:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"half")
        os.utime(place, (1000, 1000))
    return left


def strangers(store: Broken) -> list[Path]:
    """Files of somebody else, in every corner."""
    features, path = store.features, store.path
    found = [
        path / "README.md",
        path / "datasets/digits/notes.txt",
        path / "datasets/digits/manifest/notes.parquet",
        features / "commits/000000000064.parquet.bak",
        features / "moments/mine.npz",
        features / "features.zarr/other/c/0/0",
        path / f"heads/digits/{features.name}/softmax-x/notes.txt",
        path / "runs/mine/thesis.pdf",
        path / "masks/mask-000000.npz",
    ]
    for place in found:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"mine")
        os.utime(place, (1000, 1000))
    return found


def test_a_whole_store_holds_no_garbage(broken: Broken):
    before = broken.objects()
    found = collect(str(broken.path), delete=True, grace=0)
    assert (found.orphans, found.unknown, found.young, found.deleted, found.passed_over) == ((), (), 0, 0, {})
    assert broken.objects() == before


def test_what_killed_runs_leave_is_listed_and_deleted_and_nothing_else(broken: Broken):
    X, y = open_features(broken.features).numpy()
    whole = broken.objects()
    mine = strangers(broken)
    left = litter(broken)
    before = broken.objects()

    dry = collect(str(broken.path))
    assert {Path(orphan.place.uri): orphan.kind for orphan in dry.orphans} == left
    assert (dry.deleted, dry.freed, dry.bytes) == (0, 0, 4 * len(left))
    assert sorted(dry.unknown) == sorted(map(str, mine))
    assert broken.objects() == before

    done = collect(str(broken.path), delete=True)
    assert done.deleted >= len(left)  # its own lease makes another one older
    assert set(broken.objects()) == set(before) - {str(place.relative_to(broken.path)) for place in left}
    assert whole.items() <= broken.objects().items()
    again = open_features(broken.features)
    np.testing.assert_array_equal(again.numpy()[0], X)
    assert (again.numpy()[1] == y).all()
    assert broken.whats() == []
    assert broken.run()["extracted"] == 0
    assert collect(str(broken.path)).orphans == ()


def test_a_shard_whose_record_is_gone_is_garbage_and_is_extracted_again(broken: Broken):
    X, _ = open_features(broken.features).numpy()
    broken.record(1).unlink()
    done = collect(str(broken.path), delete=True, grace=0)
    kinds = {orphan.kind: orphan.place for orphan in done.orphans if orphan.kind != "lease"}
    assert kinds.keys() == {"features", "moments"}
    assert kinds["features"].path == broken.object(1) or broken.format == "hdf5"
    assert broken.run()["extracted"] == 64
    np.testing.assert_array_equal(open_features(broken.features).numpy()[0], X)


def test_what_is_new_is_left_alone(broken: Broken):
    broken.record(1).unlink()
    before = broken.objects()
    done = collect(str(broken.path), delete=True)
    assert [orphan for orphan in done.orphans if orphan.kind != "lease"] == []
    assert done.young == 2
    assert broken.objects() == before


def test_an_object_from_the_future_or_of_unknown_age_is_never_old():
    assert not Found("a", 1, None).is_older(1)
    assert not Found("a", 1, 1e12).is_older(1)
    assert Found("a", 1, 1.0).is_older(1)


def test_of_other_training_rows_the_moments_are_garbage_but_never_the_last_ones(in_zarr: Broken):
    from trunkline.store.feature_store import FeatureStore

    dataset = FeatureStore.open(Location.of(in_zarr.path)).dataset("digits")
    say(dataset.splits, dict([(64, "test"), (65, "test"), (66, "train")]))
    assert collect(str(in_zarr.path), grace=0).orphans == ()  # they are recomputed by the next select
    from trunkline.stages.select import select

    (before,) = (in_zarr.features / "moments").glob("000000000064-*")
    select(in_zarr.spec, refit=True)
    found = collect(str(in_zarr.path), delete=True, grace=0)
    assert [orphan.place.path for orphan in found.orphans if orphan.kind == "moments"] == [before]
    assert len(list((in_zarr.features / "moments").glob("000000000064-*"))) == 1
    assert select(in_zarr.spec, refit=True).reread == 0


def test_a_feature_set_that_another_run_holds_is_passed_over(broken: Broken):
    litter(broken)
    before = broken.objects()
    with hold(Location.of(broken.features / "leases")):
        found = collect(str(broken.path), delete=True)
    (why,) = found.passed_over.values()
    assert "Another run holds" in why
    inside = str(broken.features.relative_to(broken.path))
    assert {name for name in before if name.startswith(inside)} <= broken.objects().keys()
    assert found.deleted > 0  # what lies outside


def test_what_is_referred_to_meanwhile_stays(in_zarr: Broken, monkeypatch: pytest.MonkeyPatch):
    litter(in_zarr)
    record = in_zarr.features / "commits/000000001024.parquet"
    head = in_zarr.path / f"heads/digits/{in_zarr.features.name}/softmax-{HASH}/head.json"
    delete = gc._Bin.delete

    def late(bin_: gc._Bin, orphans: list[Orphan]) -> None:
        record.write_bytes(b"committed")
        head.write_bytes(b"{}")
        delete(bin_, orphans)

    monkeypatch.setattr(gc._Bin, "delete", late)
    collect(str(in_zarr.path), delete=True)
    assert (in_zarr.features / "features.zarr/avg_pool/c/16/0").exists()
    assert (in_zarr.features / "moments/000000001024-0123456789abcdef.npz").exists()
    assert (head.parent / "linear.safetensors").exists()
    assert (in_zarr.path / f"predictions/digits/{in_zarr.features.name}/softmax-{HASH}.parquet").exists()
    assert not (in_zarr.features / "moments/000000000064-0123456789abcdef.npz").exists()


def test_the_cache_of_records_is_known_and_left_alone(in_zarr: Broken):
    sealed = in_zarr.features / "sealed/000000-000003.parquet"
    sealed.parent.mkdir()
    sealed.write_bytes(b"a cache")
    found = collect(str(in_zarr.path), delete=True, grace=0)
    assert (found.unknown, [orphan.kind for orphan in found.orphans]) == ((), [])
    assert sealed.exists()


def test_damaged_markers_leave_everything_alone(in_zarr: Broken):
    """A feature set without a layout that holds records, and a backbone whose backbone.json is cut, are damaged, not garbage."""
    (marker,) = in_zarr.path.glob("backbones/*/backbone.json")
    content = marker.read_bytes()
    marker.unlink()
    marker.write_bytes(content[:20])
    (in_zarr.features / "layout.json").unlink()
    before = in_zarr.objects()
    found = collect(str(in_zarr.path), delete=True, grace=0)
    assert (found.orphans, in_zarr.objects()) == ((), before)
    assert {str(in_zarr.features), str(marker.parent)} <= set(found.unknown)


def test_features_of_no_dataset_are_unknown(in_zarr: Broken):
    shutil.move(in_zarr.path / "datasets/digits", in_zarr.path.parent / "away")
    before = in_zarr.objects()
    found = collect(str(in_zarr.path), delete=True, grace=0)
    assert found.orphans == ()
    assert str(in_zarr.features) in found.unknown
    assert in_zarr.objects() == before


def test_another_file_system_than_the_local_one():
    """As in a bucket: no folders, ages from the listing."""
    root = Location.of("memory://gc/store")
    (root / "store.json").write(json.dumps({"format": "trunkline", "version": 1}).encode())
    (root / "datasets/d/source.json").write(b'{"root": "/nowhere"}')
    (root / "heads/d/x/softmax-1/linear.safetensors").write(b"half")
    (root / "features/d/0123/recipe.json").write(b"{}")
    assert [found.name for found in objects_below(root / "datasets")] == ["d/source.json"]
    assert collect(root.uri, delete=True).deleted == 0
    done = collect(root.uri, delete=True, grace=0)
    assert [orphan.kind for orphan in done.orphans] == ["feature set"]
    assert done.unknown == ("memory://gc/store/heads/d/x",)
    assert not (root / "features/d/0123/recipe.json").exists()


def test_superseded_leases_go_without_a_lease(in_zarr: Broken):
    folder = Location.of(in_zarr.features / "leases")
    for place, numbers in ((folder, (7, 8)), (folder / "heads", (3, 4))):
        for number in numbers:
            lease = Lease(place, number, "elsewhere", 1, "some boot:1", "another")
            lease.location.write(lease.to_bytes())
    found = collect(str(in_zarr.path), delete=True)
    assert found.passed_over == {}
    assert folder.names() == ["heads", "lease-000008.json"]
    assert (folder / "heads").names() == ["lease-000004.json"]
    assert FeatureSet.open(Location.of(in_zarr.features)).commits.done() == set(SHARDS)
