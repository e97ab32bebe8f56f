"""Folds: stratified, the same for a seed, and no class stops the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.heads.made import CLASSES, DIGITS, LABELS, VALUE, truth_as
from trunkline.heads.folds import folds_of, usable_folds
from trunkline.heads.targets import Target


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.integers(2, 5), st.integers(0, 100))
def test_each_class_and_the_whole_are_dealt_out_evenly(codes, folds, seed):
    truth = np.array(codes)
    found = folds_of(CLASSES, truth, folds, seed)
    for part in (found, *(found[truth == code] for code in range(10))):
        counts = np.bincount(part, minlength=folds)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(found, folds_of(CLASSES, truth, folds, seed))


def test_another_seed_deals_otherwise():
    assert (folds_of(CLASSES, DIGITS, 3, 0) != folds_of(CLASSES, DIGITS, 3, 1)).mean() > 0.5


def test_rare_labels_are_in_every_fold():
    truth = np.zeros((300, 2), np.float32)
    truth[:, 0] = 1.0
    truth[::50, 1] = 1.0
    found = folds_of(Target("multilabel", ("often", "rare")), truth, 3, 0)
    np.testing.assert_array_equal(np.bincount(found[::50], minlength=3), [2, 2, 2])


def test_values_of_every_size_are_in_every_fold():
    truth = np.random.default_rng(0).exponential(size=300)
    found = folds_of(VALUE, truth, 3, 0)
    means = [truth[found == fold].mean() for fold in range(3)]
    assert max(means) < 1.1 * min(means)


@pytest.mark.parametrize(
    ("codes", "wanted", "folds"),
    [([0, 0, 0, 1, 1, 1], 3, 3), ([0, 0, 1, 1], 3, 2), ([0, 1, 2], 3, 1), ([0, 0, 0, 1], 3, 3), ([0, 0, 1], 5, 2)],
)
def test_as_many_folds_as_the_largest_class_can_fill(codes, wanted, folds):
    assert usable_folds(CLASSES, np.array(codes), wanted) == folds


def test_labels_and_values_need_rows_alone():
    assert usable_folds(LABELS, truth_as(LABELS, DIGITS[:2]), 3) == 2
    assert usable_folds(VALUE, truth_as(VALUE, DIGITS), 3) == 3
