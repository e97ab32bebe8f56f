"""The filter's rules, against scikit-learn's and by hand; and why features went."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.feature_selection import VarianceThreshold

from trunkline.errors import CorruptStore, DataError
from trunkline.moments import Moments
from trunkline.specs import SelectSpec
from trunkline.variance_filter import Fate, LayerMask, fit_layer, without_duplicates

PIXELS = load_digits().data.astype(np.float32)
MOMENTS = Moments.of(PIXELS)
VARIANCES = PIXELS.astype(np.float64).var(axis=0)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 10.0])
def test_an_absolute_threshold_keeps_what_scikit_learn_keeps(threshold):
    mask = fit_layer(MOMENTS, SelectSpec(threshold=threshold), "pixels")
    theirs = VarianceThreshold(threshold).fit(PIXELS.astype(np.float64))
    np.testing.assert_array_equal(mask.kept, theirs.get_support())
    np.testing.assert_allclose(mask.variances, VARIANCES)
    assert mask.threshold == threshold
    assert 0 < mask.kept.sum() < 64


def test_the_default_is_a_share_of_the_median_variance():
    mask = fit_layer(MOMENTS, SelectSpec(), "pixels")
    assert mask.threshold == pytest.approx(0.05 * np.median(VARIANCES))
    np.testing.assert_array_equal(mask.kept, mask.threshold < VARIANCES)


@pytest.mark.parametrize(("quantile", "going"), [(0.25, 16), (0.5, 32), (0.29, 18), (0.9999, 63)])
def test_a_quantile_drops_that_share_of_least_variance(quantile, going):
    mask = fit_layer(MOMENTS, SelectSpec(quantile=quantile), "pixels")
    gone = np.argsort(VARIANCES, kind="stable")[:going]
    assert set(np.flatnonzero(~mask.kept)) == set(gone)
    assert mask.threshold == pytest.approx(np.sort(VARIANCES)[going - 1])


def test_a_quantile_of_nothing_drops_what_never_varies():
    assert fit_layer(MOMENTS, SelectSpec(quantile=0.0), "pixels").kept.tolist() == (VARIANCES > 0).tolist()


def test_what_ties_with_the_last_one_to_go_goes_too():
    moments = Moments.of(np.array([[0, 0, 0, 0], [1, 1, 1, 2]], np.float32))
    assert fit_layer(moments, SelectSpec(quantile=0.25), "x").kept.tolist() == [False, False, False, True]


def test_a_variance_equal_to_the_threshold_goes():
    moments = Moments.of(np.array([[0, 0], [2, 4]], np.float32))
    assert fit_layer(moments, SelectSpec(threshold=1.0), "x").kept.tolist() == [False, True]


def test_features_that_are_zero_in_too_many_images_go():
    active = (PIXELS != 0).mean(axis=0)
    mask = fit_layer(MOMENTS, SelectSpec(threshold=0.0, min_active=0.5), "pixels")
    np.testing.assert_array_equal(mask.kept, active > 0.5)
    edge = float(np.unique(active)[-2])
    assert not fit_layer(MOMENTS, SelectSpec(threshold=0.0, min_active=edge), "pixels").kept[active == edge].any()


def test_each_feature_says_what_became_of_it():
    x = np.array([[0, 5, 1, 0, 1], [0, 5, 2, 0, 0], [0, 5, 9, 1, 0], [0, 5, 4, 0, 9]], np.float32)
    mask = fit_layer(Moments.of(x), SelectSpec(threshold=1.0, min_active=0.25), "x")
    assert mask.fates is not None
    assert mask.fates.tolist() == [Fate.INACTIVE, Fate.VARIANCE, Fate.KEPT, Fate.INACTIVE, Fate.KEPT]
    assert mask.dropped == {"too little variance": 1, "zero in too many images": 2}
    np.testing.assert_array_equal(mask.means, x.mean(axis=0))
    fewer = without_duplicates(mask, np.array([-1, -1, -1, -1, 2], np.int32))
    assert fewer.kept.tolist() == [False, False, True, False, False]
    assert fewer.fates is not None
    assert fewer.fates.tolist() == [Fate.INACTIVE, Fate.VARIANCE, Fate.KEPT, Fate.INACTIVE, Fate.DUPLICATE]
    assert fewer.dropped == {"too little variance": 1, "zero in too many images": 2, "correlates with an earlier one": 1}
    assert fewer.duplicate_of is not None
    assert fewer.duplicate_of.tolist() == [-1, -1, -1, -1, 2]


def test_an_older_mask_does_not_know_why():
    older = LayerMask(np.array([True, False]), np.ones(2), 0.5)
    assert older.dropped == {}
    assert set(older.arrays()) == {"kept", "variances"}
    assert without_duplicates(older, np.array([-1, -1], np.int32)).fates is None


@pytest.mark.parametrize("rows", [0, 1])
def test_a_variance_needs_two_images(rows):
    with pytest.raises(DataError, match=rf"needs at least 2 training images, and there are {rows}\. Check labels and splits"):
        fit_layer(Moments.of(PIXELS[:rows]), SelectSpec(), "pixels")


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (SelectSpec(threshold=1e6), "threshold"),
        (SelectSpec(relative_threshold=1e6), "relative_threshold"),
    ],
)
def test_a_rule_that_leaves_nothing_is_refused(spec, rule):
    with pytest.raises(
        DataError, match=rf"No feature of pixels has .* \(the largest is 42.*\): nothing would be left\. Lower select\.{rule};"
    ):
        fit_layer(MOMENTS, spec, "pixels")


def test_a_quantile_of_equal_features_leaves_nothing():
    same = Moments.of(np.repeat(PIXELS[:, 20:21], 3, axis=1))
    with pytest.raises(DataError, match=r"nothing would be left\. Lower select\.quantile"):
        fit_layer(same, SelectSpec(quantile=0.4), "pixels")


def test_too_much_activity_asked_for_leaves_nothing():
    x = np.array([[0, 1], [1, 0]], np.float32)
    with pytest.raises(
        DataError,
        match=r"2 features have a variance above 0 .* none of them is non-zero in more than 0\.5 .* Lower select\.min_",
    ):
        fit_layer(Moments.of(x), SelectSpec(threshold=0.0, min_active=0.5), "x")


def test_images_that_all_look_the_same_are_refused():
    with pytest.raises(DataError, match="if all variances are 0, all images look the same to the backbone"):
        fit_layer(Moments.of(np.ones((5, 3), np.float32)), SelectSpec(), "pixels")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_moments_that_are_not_finite_are_refused(bad):
    x = PIXELS[:5].copy()
    x[2, 4:11] = bad
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(
            CorruptStore, match=r"pixels are not finite in the features 4, 5, 6, 7, 8 and 2 more: .* `trunkline verify STORE`"
        ),
    ):
        fit_layer(Moments.of(x), SelectSpec(), "pixels")
