"""What was erased is nowhere in the store any more, and all the rest is as it was."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.stores import empty_store, feature_set_in, images_in, spec_for
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import DataError, LeaseHeld
from trunkline.locations import Location
from trunkline.maintenance import purge as purging
from trunkline.maintenance.purge import purge
from trunkline.specs import NeighboursSpec, RunSpec
from trunkline.stages.fit import fit
from trunkline.stages.run import run
from trunkline.stages.scan import scan
from trunkline.store.feature_set import FeatureSet
from trunkline.store.lease import hold

GONE = 3


@pytest.fixture(params=["zarr", "hdf5"])
def spec(request: pytest.FixtureRequest, tmp_path: Path, digits_folder: Path, compiled_lite0: Path) -> RunSpec:
    """A store of 100 digits, three of which were then deleted from the source; the records are sealed."""
    request.getfixturevalue("monkeypatch").setattr("trunkline.store.commits.MIN_SEALED", 1)
    images = images_in(tmp_path / "images", digits_folder, 100)
    spec = spec_for(images, empty_store(tmp_path / "store", compiled_lite0), format=request.param, max_removed_fraction=1)
    with Cluster(spec.cluster) as cluster:
        run(spec, cluster)
    for file in sorted(images.glob("*/*.png"))[:90:30]:
        file.unlink()
    scan(spec)
    return spec


def traces(store: Path, words: list[str]) -> list[str]:
    """Files of the store in which one of the words stands, compressed or not."""
    found = []
    for file in store.rglob("*"):
        if file.is_file() and "backbones" not in file.parts:
            content = file.read_bytes()
            if file.suffix == ".parquet":
                content += str(pq.read_table(file).to_pylist()).encode()
            if any(word.encode() in content for word in words):
                found.append(str(file.relative_to(store)))
    return found


def removed(store: str) -> list[dict]:
    return [row for row in open_features(store).index().to_pylist() if row["status"] == "removed"]


def test_nothing_of_a_purged_image_is_left_and_the_rest_is_as_it_was(spec: RunSpec):
    store = Path(spec.store)
    rows = removed(spec.store)
    words = [row["id"] for row in rows] + [row["sha256"] for row in rows]
    numbers = [row["row"] for row in rows]
    features = FeatureSet.open(Location.of(feature_set_in(store)))
    bits = [features.arrays.read("avg_pool", row, row + 1).tobytes()[:64] for row in numbers]
    before = open_features(spec.store).numpy()
    assert len(rows) == GONE
    assert len(traces(store, words)) >= 3  # manifest, records, their sealed copy
    counted = purge(spec.store, "digits")
    assert (counted.images, counted.erased, counted.rewritten) == (GONE, False, 0)
    assert len(traces(store, words)) >= 3
    purged = purge(spec.store, "digits", erase=True)
    assert (purged.images, purged.erased) == (GONE, True)
    assert "Masks and heads" in " ".join(purged.notes)
    assert traces(store, words) == []
    arrays = FeatureSet.open(Location.of(feature_set_in(store))).arrays
    assert all(np.isnan(arrays.read("avg_pool", row, row + 1)).all() for row in numbers)
    if spec.storage.format == "hdf5":
        with h5py.File(feature_set_in(store) / "features.h5") as file:
            assert all(np.isnan(file["avg_pool"][row]).all() for row in numbers)
        assert not any(bit in file.read_bytes() for file in store.rglob("*.h5") for bit in bits)
    after = open_features(spec.store)
    np.testing.assert_array_equal(after.numpy()[0], before[0])
    assert after.numpy()[1].tolist() == before[1].tolist()
    assert [row["id"] for row in removed(spec.store)] == [""] * GONE
    with Cluster(spec.cluster) as cluster:
        again = run(spec, cluster)
    assert (again.extracted.extracted, again.extracted.counts.removed, again.extracted.counts.ok) == (0, GONE, 100 - GONE)
    assert purge(spec.store, "digits", erase=True).images == 0


def test_a_purge_that_dies_is_finished_by_the_next_one(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    rows = removed(spec.store)
    words = [row["id"] for row in rows] + [row["sha256"] for row in rows]
    with monkeypatch.context() as patch:
        patch.setattr(purging, "_erase_from_features", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            purge(spec.store, "digits", erase=True)
    assert traces(Path(spec.store), words)
    assert purge(spec.store, "digits", erase=True).images == 0
    assert traces(Path(spec.store), words) == []
    open_features(spec.store).numpy()


def test_a_purge_by_id_that_dies_is_finished_by_the_same_command(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    """Though the manifest does not know the id any more."""
    row = removed(spec.store)[0]
    with monkeypatch.context() as patch:
        patch.setattr(purging, "_erase_from_features", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            purge(spec.store, "digits", [row["id"]], erase=True)
    assert traces(Path(spec.store), [row["id"], row["sha256"]])
    with pytest.raises(
        DataError, match=r"or it was erased before.* Nothing more was erased now than what an earlier purge left"
    ):
        purge(spec.store, "digits", [row["id"]], erase=True)
    assert traces(Path(spec.store), [row["id"], row["sha256"]]) == []
    assert len(open_features(spec.store).numpy()[0]) == 100 - GONE


def test_one_image_alone(spec: RunSpec):
    first, *others = [row["id"] for row in removed(spec.store)]
    assert purge(spec.store, "digits", [first], erase=True).images == 1
    assert [row["id"] for row in removed(spec.store)] == ["", *others]


def test_an_image_that_is_still_there_is_not_erased(spec: RunSpec):
    live = next(row["id"] for row in open_features(spec.store).index().to_pylist() if row["status"] == "ok")
    with pytest.raises(DataError, match=rf"The image '{live}' is still in the source, so its features would come back"):
        purge(spec.store, "digits", [live], erase=True)
    with pytest.raises(DataError, match=r"There is no image '3/nowhere.png' in .*, or it was erased before"):
        purge(spec.store, "digits", ["3/nowhere.png"], erase=True)
    assert len(removed(spec.store)) == GONE
    assert all(row["id"] for row in removed(spec.store))


def test_while_a_run_writes_nothing_is_erased(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trunkline.maintenance.purge.hold", lambda folder: hold(folder, wait_seconds=0))
    features = FeatureSet.open(Location.of(feature_set_in(Path(spec.store))))
    with hold(features.leases), pytest.raises(LeaseHeld):
        purge(spec.store, "digits", erase=True)
    assert all(row["id"] for row in removed(spec.store))


def test_heads_that_hold_features_of_images_go(spec: RunSpec):
    with_neighbours = spec.model_copy(update={"heads": (*spec.heads, NeighboursSpec(k=1))})
    assert [head.kind for head in fit(with_neighbours).heads] == ["softmax", "knn"]
    purge(spec.store, "digits", erase=True)
    for folder in ("heads", "predictions"):
        assert {place.name.split("-")[0] for place in Path(spec.store).glob(f"{folder}/*/*/*")} == {"softmax"}
    assert fit(with_neighbours).fitted == 1
