"""A feature set is opened only where it is the one that was asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store.examples import DIMS, recipe
from trunkline.errors import StoreError
from trunkline.locations import Location
from trunkline.store.feature_set import FeatureSet
from trunkline.store.layout import ArrayLayout

LAYOUT = ArrayLayout("zarr", 64, DIMS)


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location.of(tmp_path / recipe().digest())


@pytest.fixture
def made(location: Location) -> FeatureSet:
    return FeatureSet.create(location, recipe(), LAYOUT)


def test_what_was_made_is_opened(location: Location, made: FeatureSet):
    assert FeatureSet.open(location) == made
    assert made.layout == LAYOUT
    assert made.recipe == recipe()


def test_an_existing_layout_stays(location: Location, made: FeatureSet):
    before = (location / "layout.json").read()
    assert FeatureSet.create(location, recipe(), replace(LAYOUT, rows_per_shard=128)) == made
    assert (location / "layout.json").read() == before


def test_there_is_none(location: Location):
    with pytest.raises(StoreError, match=rf"There is no feature set at {location}. `trunkline status STORE`"):
        FeatureSet.open(location)


def test_an_interrupted_creation_is_none_yet_and_is_finished(location: Location, made: FeatureSet):
    (location / "layout.json").remove()
    with pytest.raises(StoreError, match=r"There is no feature set"):
        FeatureSet.open(location)
    assert FeatureSet.create(location, recipe(), LAYOUT) == made


def test_the_layout_of_the_faster_run_holds(location: Location, monkeypatch: pytest.MonkeyPatch):
    """Both saw no layout; the other one creates it in between."""
    create = Location.create

    def other_first(place: Location, content: bytes) -> None:
        faster = json.loads(content) | {"rows_per_shard": 512}
        create(place, json.dumps(faster).encode())
        create(place, content)

    monkeypatch.setattr(Location, "create", other_first)
    assert FeatureSet.create(location, recipe(), LAYOUT).layout.rows_per_shard == 512


def test_another_recipe_is_refused(location: Location, made: FeatureSet):
    other = recipe("efficientnet-lite1")
    with pytest.raises(
        StoreError, match=rf"another recipe \(efficientnet-lite0, digest {made.recipe.digest()}\), not of efficientnet-lite1"
    ):
        FeatureSet.create(location, other, LAYOUT)


def test_another_format_is_refused(location: Location, made: FeatureSet):  # noqa: ARG001
    with pytest.raises(
        StoreError, match=r"is stored as zarr; the format is fixed.*Use --format zarr, or another --store for hdf5"
    ):
        FeatureSet.create(location, recipe(), ArrayLayout("hdf5", 64, DIMS))


def test_a_format_that_the_storage_does_not_carry_is_refused_before_anything_is_written():
    place = Location(f"memory://refused/{recipe().digest()}")
    with pytest.raises(StoreError, match=r"HDF5 cannot be written to memory://"):
        FeatureSet.create(place, recipe(), ArrayLayout("hdf5", 64, DIMS))
    assert place.names() == []


def test_a_moved_one_is_refused(location: Location, made: FeatureSet, tmp_path: Path):
    location.path.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=rf"holds the recipe {made.recipe.digest()}: it was moved or edited"):
        FeatureSet.open(Location.of(tmp_path / "elsewhere"))


def test_an_edited_recipe_is_refused(location: Location, made: FeatureSet):  # noqa: ARG001
    edited = recipe().model_copy(update={"size": 128})
    (location / "recipe.json").write(edited.model_dump_json().encode())
    with pytest.raises(StoreError, match=rf"holds the recipe {edited.digest()}: it was moved or edited"):
        FeatureSet.open(location)


@pytest.mark.parametrize("name", ["recipe.json", "layout.json"])
def test_what_is_not_json_is_refused(location: Location, made: FeatureSet, name: str):  # noqa: ARG001
    (location / name).write(b"no JSON")
    with pytest.raises(StoreError, match=r"recipe.json or layout.json is foreign or newer"):
        FeatureSet.open(location)


def test_a_recipe_with_an_unknown_key_is_refused(location: Location, made: FeatureSet):  # noqa: ARG001
    said = recipe().model_dump(mode="json") | {"quantum": True}
    (location / "recipe.json").write(json.dumps(said).encode())
    with pytest.raises(StoreError, match=r"foreign or newer"):
        FeatureSet.open(location)


@pytest.mark.parametrize("said", [{"format_version": 2, "format": "zarr"}, {"format": "zarr"}, [1]])
def test_another_version_is_refused(location: Location, made: FeatureSet, said: object):  # noqa: ARG001
    (location / "layout.json").write(json.dumps(said).encode())
    with pytest.raises(StoreError, match=r"was written by another version of trunkline. Update trunkline"):
        FeatureSet.open(location)


@pytest.mark.parametrize("said", [{"format_version": 1}, {"format_version": 1, "colour": "red"}])
def test_a_layout_that_says_too_little_is_refused(location: Location, made: FeatureSet, said: object):  # noqa: ARG001
    (location / "layout.json").write(json.dumps(said).encode())
    with pytest.raises(StoreError, match=r"recipe.json or layout.json is foreign or newer"):
        FeatureSet.open(location)
