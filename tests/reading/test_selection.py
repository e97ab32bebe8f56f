"""Selections: every keyword, alone and together; only live rows that have features; wrong ones are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.reading.conftest import BAD, REMOVED
from tests.reading.made import Made
from trunkline import Features, open_features
from trunkline.errors import DataError

LIVE = [row for row in (*range(150), *range(1024, 1054)) if row not in {*BAD, REMOVED}]


@pytest.fixture(scope="module")
def features(fruit: Made) -> Features:
    return open_features(fruit.place)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, LIVE),
        ({"label": "fig"}, range(1024, 1054)),
        ({"label": ["fig", "pear"]}, [*range(100, 150), *range(1024, 1054)]),
        ({"label": "kiwi"}, []),
        ({"split": "test"}, [row for row in LIVE if row % 1024 % 3 == 2]),
        ({"split": ("test", "train")}, LIVE),
        ({"batch": 1}, range(1024, 1054)),
        ({"batch": [0, 2]}, [row for row in LIVE if row < 150]),
        ({"rows": range(2, 8)}, [2, 4, 6, 7]),
        ({"rows": slice(-30, None)}, []),
        ({"rows": slice(140, 1030)}, [*range(140, 150), *range(1024, 1030)]),
        ({"rows": slice(None, None, 64)}, [0, 64, 128, 1024]),
        ({"rows": [1025, 7, 7]}, [7, 1025]),
        ({"rows": []}, []),
        ({"ids": "fig/0001.jpg"}, [1025]),
        ({"ids": ["pear/0000.jpg", "apple/0002.jpg"]}, [2, 100]),
        ({"ids": []}, []),
        ({"split": "train", "label": "apple", "batch": 0, "rows": range(10)}, [0, 1, 4, 6, 7, 9]),
    ],
)
def test_rows(features: Features, choice: dict[str, Any], expected: list[int]):
    assert features.rows(**choice).tolist() == list(expected)


def test_every_way_of_reading_takes_the_same_selection(features: Features, fruit: Made):
    columns = np.array([True, False, True, False, False, True])
    choice: dict[str, Any] = {"split": "train", "label": ["apple", "fig"], "rows": slice(90, 1030), "columns": columns}
    rows = np.array([row for row in [*range(90, 100), *range(1024, 1030)] if row % 1024 % 3 != 2])
    expected = fruit.values(rows)[:, columns]
    x, y = features.numpy(**choice)
    np.testing.assert_array_equal(x, expected)
    assert y.tolist() == ["apple"] * 7 + ["fig"] * 4
    np.testing.assert_array_equal(features.dask(**choice).compute(scheduler="sync"), expected)
    np.testing.assert_array_equal(features.xarray(**choice).values, expected)
    np.testing.assert_array_equal(features.arrow(**choice)["feature"].to_pylist(), expected)
    np.testing.assert_array_equal(features.pandas(**choice).to_numpy()[:, 3:].astype("f4"), expected)
    np.testing.assert_array_equal(np.concatenate([x for _, x, _ in features.batches(4, **choice)]), expected)


def test_another_layer(features: Features, fruit: Made):
    x, _ = features.numpy(rows=range(100, 140), layer="late")
    np.testing.assert_array_equal(x, fruit.values(np.arange(100, 140), "late"))


def test_an_image_that_came_back_has_the_row_that_is_live(writable: Made):
    writable.scan(["plum/0007.jpg"], removed=[7], version="2")
    with pytest.raises(DataError, match=r"have no features: plum/0007.jpg \(pending\)"):
        open_features(writable.place).rows(ids="plum/0007.jpg")
    writable.extract()
    assert open_features(writable.place).rows(ids="plum/0007.jpg").tolist() == [1024]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"split": "trian"}, r"There is no split 'trian'. Did you mean train\? There are: test, train."),
        ({"label": ["apple", "fog"]}, r"There is no label 'fog'. Did you mean fig\? There are: apple, fig, kiwi, pear."),
        ({"label": 7}, r"There is no label '7'"),
        ({"batch": 3}, r"There is no batch 3; the manifest has 3, numbered from 0"),
        ({"batch": -1}, r"There is no batch -1"),
        ({"rows": [0, 2058, -1]}, r"rows= names 2058, -1, and the rows of the manifest are 0 to 2057"),
        ({"rows": [0.5]}, r"rows= is float64 of shape \(1,\); it takes row numbers"),
        ({"rows": 3}, r"rows= is int64 of shape \(\); it takes row numbers"),
        ({"rows": [True, False]}, r"rows= is bool of shape \(2,\)"),
        ({"ids": ["pear/0000.jpg", "figs/0001.jpg"]}, r"No image has the id 'figs/0001.jpg'. Did you mean fig/0001.jpg"),
        ({"ids": [f"no-{n}" for n in range(9)]}, r"has the id 'no-0', 'no-1', 'no-2', 'no-3', 'no-4' and 4 more. index\(\)"),
        (
            {"ids": ["pear/0000.jpg", "apple/0003.jpg", "apple/0005.jpg", "kiwi/0001.jpg"]},
            r"3 of the images .* apple/0003.jpg \(quarantined\), apple/0005.jpg \(removed\), kiwi/0001.jpg \(pending\). Leave them out",
        ),
        ({"layer": "pol"}, r"There is no layer 'pol'. Did you mean pool\? There are: pool, late"),
        ({"columns": np.ones(5, bool)}, r"columns= is bool of shape \(5,\); pool needs one bool a feature: shape \(6,\)"),
        ({"columns": np.arange(6)}, r"columns= is int64 of shape \(6,\)"),
        ({"columns": np.ones(6, bool), "mask": True}, r"Give either columns= or mask="),
    ],
)
def test_what_is_not_there_is_named(features: Features, choice: dict[str, Any], message: str):
    with pytest.raises(DataError, match=message):
        features.numpy(**choice)


def test_a_keyword_that_does_not_exist(features: Features):
    with pytest.raises(TypeError, match="unexpected keyword argument 'lable'"):
        features.numpy(lable="fig")
