"""The variance filter against scikit-learn's, and masks that are pinned."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.feature_selection import VarianceThreshold

from trunkline import selection
from trunkline.errors import CorruptStore, DataError
from trunkline.locations import Location
from trunkline.moments import Moments
from trunkline.specs import SelectSpec

PIXELS = load_digits().data.astype(np.float32)
MOMENTS = Moments.of(PIXELS)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 10.0])
def test_an_absolute_threshold_keeps_what_scikit_learn_keeps(threshold):
    mask = selection.fit_layer(MOMENTS, SelectSpec(threshold=threshold), "pixels")
    theirs = VarianceThreshold(threshold).fit(PIXELS.astype(np.float64))
    np.testing.assert_array_equal(mask.kept, theirs.get_support())
    np.testing.assert_allclose(mask.variances, PIXELS.astype(np.float64).var(axis=0))
    assert mask.threshold == threshold
    assert 0 < mask.kept.sum() < 64


def test_the_default_is_a_share_of_the_median_variance():
    mask = selection.fit_layer(MOMENTS, SelectSpec(), "pixels")
    variances = PIXELS.astype(np.float64).var(axis=0)
    assert mask.threshold == pytest.approx(0.05 * np.median(variances))
    np.testing.assert_array_equal(mask.kept, variances > mask.threshold)


def test_a_variance_equal_to_the_threshold_goes():
    moments = Moments.of(np.array([[0, 0], [2, 4]], np.float32))
    assert selection.fit_layer(moments, SelectSpec(threshold=1.0), "x").kept.tolist() == [False, True]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_variance_needs_two_images(rows):
    with pytest.raises(DataError, match=rf"needs at least 2 training images, and there are {rows}\. Check labels and splits"):
        selection.fit_layer(Moments.of(PIXELS[:rows]), SelectSpec(), "pixels")


def test_a_threshold_that_leaves_nothing_is_refused():
    with pytest.raises(
        DataError, match=r"No feature of pixels has a variance above 1e\+06 \(the largest is 42.*\): nothing would"
    ):
        selection.fit_layer(MOMENTS, SelectSpec(threshold=1e6), "pixels")


def test_images_that_all_look_the_same_are_refused():
    with pytest.raises(DataError, match="if all variances are 0, all images look the same to the backbone"):
        selection.fit_layer(Moments.of(np.ones((5, 3), np.float32)), SelectSpec(), "pixels")


def test_a_mask_is_read_back_as_it_was_written(tmp_path):
    folder = Location.of(tmp_path / "masks")
    layers = {name: selection.fit_layer(MOMENTS, SelectSpec(threshold=t), name) for name, t in (("a", 0.1), ("b/c", 9.5))}
    made = selection.create(folder, 1797, layers)
    found = selection.load_latest(folder)
    assert found is not None
    assert (found.location, found.rows, set(found.layers)) == (made.location, 1797, {"a", "b/c"})
    for name, layer in layers.items():
        np.testing.assert_array_equal(found.layers[name].kept, layer.kept)
        np.testing.assert_array_equal(found.layers[name].variances, layer.variances)
        assert found.layers[name].threshold == layer.threshold


def test_the_newest_mask_counts_and_has_a_digest_of_its_own(tmp_path):
    folder = Location.of(tmp_path / "rule")
    assert selection.load_latest(folder) is None
    layers = [{"a": selection.fit_layer(MOMENTS, SelectSpec(threshold=threshold), "a")} for threshold in (0.1, 0.1, 0.0)]
    assert not np.array_equal(layers[0]["a"].kept, layers[2]["a"].kept)
    one, same, other = (selection.create(folder, 10 + number, each) for number, each in enumerate(layers))
    assert folder.names() == [f"mask-{number:06d}.npz" for number in range(3)]
    assert one.digest == same.digest != other.digest
    latest = selection.load_latest(folder)
    assert latest is not None
    assert (latest.rows, latest.digest) == (12, other.digest)
    one.location.remove()
    assert selection.create(folder, 13, layers[0]).location.name == "mask-000003.npz"


def test_of_masks_made_at_once_one_holds_for_all(tmp_path):
    folder, barrier = Location.of(tmp_path / "rule"), threading.Barrier(8)
    layer = selection.fit_layer(MOMENTS, SelectSpec(threshold=0.1), "a")

    def make(rows: int) -> selection.Mask:
        barrier.wait()
        return selection.create(folder, rows, {"a": layer})

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    stored = {name: selection.load(folder / name).rows for name in folder.names()}
    assert {mask.location.name for mask in made} == set(stored)
    assert all(mask.rows == stored[mask.location.name] for mask in made)


def damaged(**change: object) -> bytes:
    out = io.BytesIO()
    said = json.dumps({"rows": 2, "thresholds": {"a": 0.1}})
    arrays = {"said": np.array(said), "a/kept": np.array([True]), "a/variances": np.array([1.0])} | change
    np.savez(out, **{name: value for name, value in arrays.items() if value is not None})
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        damaged()[:-30],
        damaged(said=None),
        damaged(said=np.array("no json")),
        damaged(said=np.array("{}")),
        damaged(**{"a/kept": None}),
        damaged(**{"a/kept": np.array([{"an": "object"}], object)}),
    ],
)
def test_a_damaged_mask_is_said(tmp_path, content):
    place = Location.of(tmp_path) / "mask-000000.npz"
    place.write(damaged())
    assert selection.load(place).rows == 2
    place.write(content)
    with pytest.raises(CorruptStore, match=r"mask-000000\.npz is damaged \(.*Delete it: it is fitted anew from the moments"):
        selection.load(place)
