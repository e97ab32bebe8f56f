"""Dask arrays: nothing is read before it is computed; blocks lie along shards; other processes can compute them."""

from __future__ import annotations

import numpy as np
import pytest
from dask.distributed import Client, LocalCluster

from tests.reading.made import Made
from trunkline import Features, open_features
from trunkline.reading import lazy
from trunkline.reading.feature_reader import FeatureReader


@pytest.fixture
def features(fruit: Made, monkeypatch: pytest.MonkeyPatch) -> Features:
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 1)
    return open_features(fruit.place)


def test_nothing_is_read_before_it_is_computed(features: Features, fruit: Made, monkeypatch: pytest.MonkeyPatch):
    read, asked = FeatureReader.read, []
    monkeypatch.setattr(FeatureReader, "read", lambda self, rows, *more: asked.append(rows.tolist()) or read(self, rows, *more))
    array = features.dask()
    assert (array.shape, array.dtype) == ((177, 6), np.float32)
    assert array.chunks == ((62, 63, 22, 30), (6,)), "a block a shard, without quarantined and removed rows"
    assert asked == []
    np.testing.assert_array_equal(array[-2:].compute(scheduler="sync"), fruit.values(np.array([1052, 1053])))
    assert asked == [list(range(1024, 1054))]


def test_reductions(features: Features, fruit: Made):
    x = fruit.values(features.rows("train"))
    np.testing.assert_allclose(
        features.dask("train").var(axis=0).compute(scheduler="sync"), x.var(axis=0, dtype="f8"), rtol=1e-3
    )


def test_a_block_is_several_shards_where_they_are_small(fruit: Made):
    assert open_features(fruit.place).dask().chunks == ((177,), (6,))


def test_the_same_selection_has_the_same_name(features: Features):
    columns = np.arange(6) > 2
    assert features.dask().name == features.refresh().dask().name
    names = {features.dask(**choice).name for choice in ({}, {"split": "test"}, {"layer": "late"}, {"columns": columns})}
    assert len(names) == 4


@pytest.mark.slow
def test_workers_of_a_cluster_read_for_themselves(features: Features):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        np.testing.assert_array_equal(client.compute(features.dask()).result(), features.numpy()[0])


def test_a_selection_without_rows(features: Features):
    assert features.dask(label="kiwi").compute(scheduler="sync").shape == (0, 6)
