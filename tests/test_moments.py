"""Moments merged over any split in any order are NumPy's of the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trunkline import moments
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.moments import Moments

PARTS = ("count", "mean", "m2", "min", "max", "nonzeros")


@st.composite
def cut_blocks(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Rows of very different scales, offsets and zeros, and the same rows cut into blocks in another order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, dim = draw(st.integers(1, 60)), draw(st.integers(1, 5))
    scale = 10.0 ** rng.integers(-4, 5, dim)
    offset = draw(st.sampled_from([0.0, 1.0, 1e3])) * scale
    values = ((rng.normal(size=(rows, dim)) * scale + offset) * (rng.random((rows, dim)) < 0.8)).astype(np.float32)
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=5)))
    blocks = np.split(values, cuts)
    return values, draw(st.permutations(blocks))


@given(cut_blocks())
def test_merged_moments_are_those_of_the_whole(blocks):
    values, parts = blocks
    found, x = moments.merged(Moments.of(part) for part in parts), values.astype(np.float64)
    assert found.count == len(x)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12, atol=1e-12 * np.abs(x).max())
    np.testing.assert_allclose(found.variance, x.var(axis=0), rtol=1e-9, atol=1e-20 + 1e-14 * np.square(x).max())
    np.testing.assert_array_equal(found.min, x.min(axis=0))
    np.testing.assert_array_equal(found.max, x.max(axis=0))
    np.testing.assert_array_equal(found.nonzeros, (x != 0).sum(axis=0))


@given(cut_blocks(), st.integers(0, 5))
def test_merging_may_be_grouped_in_any_way(blocks, at):
    _, parts = blocks
    each = [Moments.of(part) for part in parts]
    whole = moments.merged(each)
    groups = [moments.merged(group) for group in (each[:at], each[at:]) if group]
    for part in ("mean", "m2"):
        np.testing.assert_allclose(getattr(moments.merged(groups), part), getattr(whole, part), rtol=1e-9, atol=1e-9)


def test_a_large_mean_costs_no_variance():
    values = np.array([[1e6], [1e6 + 1], [1e6 + 2]], np.float32)
    found = Moments.of(values[:1]).merge(Moments.of(values[1:]))
    assert found.variance == pytest.approx([2 / 3], rel=1e-9)


def test_a_constant_feature_has_a_variance_of_exactly_zero():
    values = np.full((3, 1), np.float32(0.1))
    parts = [Moments.of(values[:n]) for n in (1, 2, 3)]
    assert moments.merged(parts).variance.tolist() == [0.0]


def test_no_rows_change_nothing():
    some, none = Moments.of(np.ones((2, 3), np.float32)), Moments.of(np.empty((0, 3), np.float32))
    assert none.merge(some) is some
    assert some.merge(none) is some
    both = none.merge(none)
    assert both.count == 0
    assert both.variance.tolist() == [0.0, 0.0, 0.0]


def test_what_is_saved_is_loaded(tmp_path):
    layers = {
        name: Moments.of(np.random.default_rng(seed).normal(size=(9, 4)).astype(np.float32)) for seed, name in enumerate("ab")
    }
    place = Location.of(tmp_path) / "x.npz"
    moments.save(place, layers)
    found = moments.load(place, ["b", "a"])
    assert set(found) == {"a", "b"}
    for layer, there in layers.items():
        for part in PARTS:
            np.testing.assert_array_equal(getattr(found[layer], part), getattr(there, part))
    assert isinstance(found["a"].count, int)


def test_the_object_is_named_after_shard_and_rows():
    folder = Location.of("/moments")
    place = moments.place(folder, "000000000064", np.array([64, 65, 70]))
    assert place.uri == f"/moments/000000000064-{moments.rows_key(np.array([64, 65, 70]))}.npz"
    assert moments.rows_key(np.array([0, 1, 5])) == "7f202a05cbccc591"
    assert moments.rows_key(np.array([0, 1, 5], np.int32)) == "7f202a05cbccc591"
    assert moments.rows_key(np.arange(12)[::2]) == moments.rows_key(np.array([0, 2, 4, 6, 8, 10]))
    assert moments.rows_key(np.array([0, 1])) != moments.rows_key(np.array([0, 1, 5]))


def test_a_missing_object_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        moments.load(Location.of(tmp_path) / "x.npz", ["a"])


@pytest.mark.parametrize("keep", [0, 10, -1, -50])
def test_a_truncated_object_is_corrupt(tmp_path, keep):
    place = Location.of(tmp_path) / "x.npz"
    moments.save(place, {"a": Moments.of(np.ones((2, 3), np.float32))})
    place.write(place.read()[:keep])
    with pytest.raises(CorruptStore, match=r"x\.npz is damaged \(.*Delete it: it is computed anew from the features"):
        moments.load(place, ["a"])


def test_an_object_of_another_layer_is_corrupt(tmp_path):
    place = Location.of(tmp_path) / "x.npz"
    moments.save(place, {"a": Moments.of(np.ones((2, 3), np.float32))})
    with pytest.raises(CorruptStore, match=r"is damaged \(.*b/count"):
        moments.load(place, ["b"])


def test_parts_of_different_widths_are_corrupt(tmp_path):
    place = Location.of(tmp_path) / "x.npz"
    whole = Moments.of(np.ones((2, 3), np.float32))
    moments.save(place, {"a": replace(whole, m2=np.zeros(2))})
    with pytest.raises(CorruptStore, match=r"is damaged \(its parts are not of one shape"):
        moments.load(place, ["a"])
