"""Renamed and touched images keep their features: the same bits, read from the earlier row, without the network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.stores import copy_of, extracted, feature_set_in, objects, spec_for
from trunkline import open_features
from trunkline.blocks import Status
from trunkline.locations import Location
from trunkline.predecessors import Predecessors
from trunkline.shard_extraction import OpenRecipe
from trunkline.stages.scan import scan
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore


@pytest.fixture
def moved(finished_store: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A store of 160 digits, and its source: one image renamed, one touched, one really changed to the bytes of another."""
    store = copy_of(finished_store, tmp_path / "store")
    source = finished_store.parent / "images"
    images = copy_of_images(source, tmp_path / "images")
    (store / "datasets/digits/source.json").write_text(f'{{"root": "{images}"}}')
    files = sorted(images.glob("*/*.png"))
    files[0].rename(files[0].with_name("renamed.png"))
    os.utime(files[1], ns=(1, 1))
    files[2].write_bytes(files[3].read_bytes())
    return store, images


def copy_of_images(source: Path, place: Path) -> Path:

    shutil.copytree(source, place, copy_function=shutil.copy2)
    return place


def test_the_network_runs_for_changed_bytes_alone(moved: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    store, images = moved
    before = {row["id"]: row["row"] for row in open_features(store).index().to_pylist()}
    ran: list[int] = []
    whole = OpenRecipe.run
    monkeypatch.setattr(OpenRecipe, "run", lambda self, batch, out: ran.extend(batch.numbers) or whole(self, batch, out))
    receipt = extracted(spec_for(images, store))
    assert (receipt.extracted, receipt.counts.removed) == (3, 3)
    assert len(ran) == 1
    features = open_features(store)
    rows = {row["id"]: row["row"] for row in features.index().to_pylist() if row["status"] == Status.OK}
    files = sorted(before)
    renamed = f"{files[0].split('/')[0]}/renamed.png"
    arrays = FeatureSet.open(Location.of(feature_set_in(store))).arrays
    for old, new in ((before[files[0]], rows[renamed]), (before[files[1]], rows[files[1]]), (before[files[3]], rows[files[2]])):
        assert new >= 1024
        np.testing.assert_array_equal(arrays.read("avg_pool", old, old + 1), arrays.read("avg_pool", new, new + 1))
    again = extracted(spec_for(images, store))
    assert again.extracted == 0


def test_a_name_that_was_never_extracted_between_two_others_costs_nothing(
    moved: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    """Renamed twice before a run: the row between is void, and the features are those of the first."""
    store, images = moved
    spec = spec_for(images, store)
    scan(spec)
    renamed = next(images.glob("*/renamed.png"))
    renamed.rename(renamed.with_name("renamed-again.png"))
    ran: list[int] = []
    whole = OpenRecipe.run
    monkeypatch.setattr(OpenRecipe, "run", lambda self, batch, out: ran.extend(batch.numbers) or whole(self, batch, out))
    assert extracted(spec).counts.ok == 160
    assert len(ran) == 1  # the one that was really changed


def test_features_that_are_not_as_committed_are_not_copied(moved: tuple[Path, Path]):
    store, images = moved
    extracted(spec_for(images, store))
    features = FeatureSet.open(Location.of(feature_set_in(store)))
    manifest = FeatureStore.open(Location.of(store)).dataset("digits").manifest
    (new,) = [row for row in range(1024, 1027) if "renamed" in str(manifest.images().to_pylist()[row - 1024 + 160]["id"])]
    sha256 = next(row["sha256"] for row in features.commits.read("000000001024").table.to_pylist() if row["row"] == new)
    assert Predecessors(features, manifest).features_of(new, sha256) is not None
    assert Predecessors(features, manifest).features_of(new, "0" * 64) is None
    assert Predecessors(features, manifest).features_of(0, sha256) is None
    old = manifest.predecessor(new)
    assert old is not None
    array = next(name for name in objects(feature_set_in(store)) if name.endswith("/c/0/0"))
    place = feature_set_in(store) / array
    place.write_bytes(place.read_bytes()[:-100])
    assert Predecessors(features, manifest).features_of(new, sha256) is None
    (feature_set_in(store) / "commits/000000000000.parquet").unlink()
    assert Predecessors(features, manifest).features_of(new, sha256) is None
