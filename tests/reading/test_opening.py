"""Opening: a store with several datasets, and what a feature set is asked to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.reading.made import Made, ids
from trunkline import Features, open_features, reader
from trunkline.errors import StoreError


@pytest.fixture
def two(tmp_path: Path) -> tuple[Made, Made]:
    """One store, two datasets; the second one with two recipes."""
    fruit, birds = Made(tmp_path / "store"), Made(tmp_path / "store", name="birds")
    for made in (fruit, birds, Made(tmp_path / "store", {"pool": 4}, name="birds")):
        if not made.dataset.manifest.batches:
            made.scan(ids(made.name, 70))
        made.extract()
    return fruit, birds


def test_a_dataset_of_a_store(two: tuple[Made, Made]):
    fruit, birds = two
    assert open_features(fruit.place, dataset="fruit").uri == fruit.uri
    assert open_features(fruit.uri, dataset="fruit").dataset.name == "fruit"
    with pytest.raises(StoreError, match=r"holds 3 feature sets: .*birds.*; .*fruit.*. Open one of them by its own URI"):
        open_features(fruit.place)
    with pytest.raises(StoreError, match=r"holds 2 feature sets of the dataset 'birds': .*birds"):
        open_features(fruit.place, dataset="birds")
    with pytest.raises(StoreError, match=r"has no dataset 'bird'. Did you mean birds\? There are: birds, fruit"):
        open_features(fruit.place, dataset="bird")
    with pytest.raises(StoreError, match=r"holds features of the dataset 'birds', not of 'fruit'"):
        open_features(birds.uri, dataset="fruit")


def test_a_folder_of_a_store_that_is_no_feature_set(two: tuple[Made, Made]):
    for name in ("features", "features/fruit", "datasets/fruit"):
        with pytest.raises(StoreError, match=rf"There is no feature set at .*{name}"):
            open_features(two[0].place / name)


def test_features_of_a_newer_format(two: tuple[Made, Made]):
    layout = Path(two[0].uri) / "layout.json"
    layout.write_text(layout.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(StoreError, match=r"was written by another version of trunkline. Update trunkline to read it"):
        open_features(two[0].uri)


def test_a_snapshot_as_of_a_batch_is_refreshed_as_of_it(two: tuple[Made, Made]):
    fruit, _ = two
    features = open_features(fruit.uri, batch=0)
    fruit.scan(ids("fig", 5))
    fruit.extract()
    assert features.refresh().batch == 0
    np.testing.assert_array_equal(features.refresh().rows(), features.rows())


def test_both_names_of_the_module_are_one():
    assert (reader.open_features, reader.Features) == (open_features, Features)
