"""The root of a store, and its datasets: made in an empty place only, bound once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.store.examples import DIMS, recipe
from trunkline.errors import SourceError, StoreError
from trunkline.locations import Location
from trunkline.sources import FolderSource, TableSource, TarSource
from trunkline.specs import ColumnsSpec
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore
from trunkline.store.layout import ArrayLayout


@pytest.fixture
def root(tmp_path: Path) -> Location:
    return Location.of(tmp_path / "store")


def test_a_store_is_made_once_and_opened_after(root: Location):
    assert FeatureStore.create(root) == FeatureStore.create(root) == FeatureStore.open(root)
    assert root.names() == ["store.json"]


def test_a_store_is_made_in_an_empty_folder_and_over_an_interrupted_one(root: Location):
    root.path.mkdir()
    (root.path / ".store.json.abc.tmp").write_bytes(b"{")
    FeatureStore.create(root)
    assert FeatureStore.open(root).datasets() == []


def test_the_faster_of_two_runs_makes_it(root: Location, monkeypatch: pytest.MonkeyPatch):
    create = Location.create

    def other_first(place: Location, content: bytes) -> None:
        create(place, content)
        create(place, content)

    monkeypatch.setattr(Location, "create", other_first)
    assert FeatureStore.create(root).root == root


def test_a_folder_that_holds_something_else_is_refused_and_left(root: Location):
    root.path.mkdir()
    (root.path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"is not a feature store and not empty \(it holds thesis.tex\)"):
        FeatureStore.create(root)
    assert root.names() == ["thesis.tex"]


def test_there_is_no_store(root: Location):
    with pytest.raises(StoreError, match=rf"There is no feature store at {root}. `trunkline run --source DIR --store {root}`"):
        FeatureStore.open(root)


def test_what_is_not_json_is_no_store(root: Location):
    (root / "store.json").write(b"hello")
    with pytest.raises(StoreError, match=r"store.json is not JSON: this is not a feature store, or it is damaged"):
        FeatureStore.create(root)


@pytest.mark.parametrize("said", [{"format": "other", "version": 1}, {}, [], "trunkline"])
def test_a_foreign_store_is_refused(root: Location, said: object):
    (root / "store.json").write(json.dumps(said).encode())
    with pytest.raises(StoreError, match=r"is not a feature store of trunkline"):
        FeatureStore.create(root)


def test_a_newer_store_is_refused(root: Location):
    (root / "store.json").write(json.dumps({"format": "trunkline", "version": 2}).encode())
    with pytest.raises(StoreError, match=r"has store format 2; this trunkline reads 1. Update trunkline"):
        FeatureStore.create(root)


def test_a_dataset_is_bound_to_one_source(root: Location, tmp_path: Path):
    dataset = FeatureStore.create(root).dataset("birds")
    one, other = (FolderSource(Location.of(tmp_path / name)) for name in ("one", "other"))
    dataset.bind(one)
    dataset.bind(one)
    assert dataset.source == one
    with pytest.raises(SourceError, match=rf"'birds' belongs to {one.root}, not to {other.root}.*--dataset"):
        dataset.bind(other)
    assert dataset.source == one


def test_another_kind_of_source_is_another_source(root: Location):
    dataset = FeatureStore.create(root).dataset("birds")
    dataset.bind(TarSource(Location("/data/x")))
    with pytest.raises(SourceError, match=r"belongs to /data/x \(kind tar\), not to /data/x: its rows"):
        dataset.bind(FolderSource(Location("/data/x")))
    assert dataset.source == TarSource(Location("/data/x"))


def test_columns_of_labels_may_change_and_columns_of_uris_may_not(root: Location):
    dataset, table = FeatureStore.create(root).dataset("birds"), Location("/data/x.csv")
    dataset.bind(TableSource(table, ColumnsSpec(id="key")))
    relabelled = TableSource(table, ColumnsSpec(id="key", label="species"))
    dataset.bind(relabelled)
    assert dataset.source == relabelled
    words = (
        r"belongs to /data/x.csv \(kind table, id in column 'key'\), not to /data/x.csv \(kind table, uri in column 'path'\)"
    )
    with pytest.raises(SourceError, match=words):
        dataset.bind(TableSource(table, ColumnsSpec(uri="path")))
    assert dataset.source == relabelled


def test_what_an_earlier_version_bound_is_a_folder(root: Location):
    dataset = FeatureStore.create(root).dataset("birds")
    (dataset.location / "source.json").write(b'{"root": "/data/birds"}')
    assert dataset.source == FolderSource(Location("/data/birds"))
    dataset.bind(FolderSource(Location("/data/birds")))


@pytest.mark.parametrize("content", [None, b"no JSON", b"[1]", b"{}", b'{"root": "/x", "kind": "novel"}'])
def test_a_dataset_without_a_source_was_never_scanned(root: Location, content: bytes | None):
    dataset = FeatureStore.create(root).dataset("birds")
    if content:
        (dataset.location / "source.json").write(content)
    with pytest.raises(StoreError, match=r"The dataset birds in .* was never scanned. Run `trunkline scan` first"):
        _ = dataset.source


def test_an_interrupted_feature_set_is_left_out(root: Location):
    store = FeatureStore.create(root)
    layout = ArrayLayout("zarr", 64, DIMS)
    whole, half = recipe(), recipe("efficientnet-lite1")
    FeatureSet.create(store.feature_set_location("birds", whole), whole, layout)
    (store.feature_set_location("birds", half) / "recipe.json").write(half.model_dump_json().encode())
    assert [features.recipe for features in store.feature_sets("birds")] == [whole]
    assert store.feature_sets("fish") == []


def test_what_belongs_to_a_feature_set_lies_beside_it(root: Location):
    store = FeatureStore.create(root)
    features = FeatureSet.create(store.feature_set_location("birds", recipe()), recipe(), ArrayLayout("zarr", 64, DIMS))
    assert store.beside("masks", features).uri == f"{root}/masks/birds/{recipe().digest()}"
