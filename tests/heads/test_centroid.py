"""Nearest centroid against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from tests.heads.made import DIGITS, PIXELS, data_of
from trunkline.heads.centroid import fit_centroid
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData

ROWS, TEST = np.arange(1000), np.arange(1000, 1797)


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")  # scikit-learn's words about pixels that are always white
def test_the_nearest_class_mean_is_scikit_learns():
    head = fit_centroid(data_of(rows=ROWS))
    theirs = NearestCentroid().fit(head.standard(PIXELS[ROWS]), DIGITS[ROWS])
    found = head.outputs(PIXELS[TEST])
    np.testing.assert_array_equal(found.argmax(axis=1), theirs.predict(head.standard(PIXELS[TEST])))
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_a_class_without_a_training_row_is_never_the_nearest():
    rows = np.flatnonzero(DIGITS[:500] != 4)
    assert not (fit_centroid(data_of(rows=rows)).outputs(PIXELS[TEST]).argmax(axis=1) == 4).any()


def test_one_row_a_class_is_enough():
    x = np.array([[0.0, 0.0], [4.0, 4.0]], np.float32)
    head = fit_centroid(TrainingData.in_memory(x, Target("classes", ("a", "b")), np.array([0, 1])))
    np.testing.assert_array_equal(head.outputs(np.array([[1, 1], [3, 3]], np.float32)).argmax(axis=1), [0, 1])
