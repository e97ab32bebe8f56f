"""Labels become truth: classes, several labels, numbers."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.errors import DataError
from trunkline.heads.targets import Target, target_of, truth_of
from trunkline.specs import TargetSpec

MANY, VALUE = TargetSpec(kind="multilabel"), TargetSpec(kind="regression")


def test_classes_are_the_sorted_labels_and_strangers_are_known_as_such():
    target = target_of(TargetSpec(), ["pear", "apple"])
    assert target.names == ("apple", "pear")
    truth, known = truth_of(target, TargetSpec(), np.array([0, 1, 2]), ["pear", "plum", "apple"])
    np.testing.assert_array_equal(truth[known], [1, 0])
    np.testing.assert_array_equal(known, [True, False, True])


def test_several_labels_are_separated_and_trimmed():
    target = target_of(MANY, ["red| round", "round", "|"])
    assert target.names == ("red", "round")
    truth, known = truth_of(target, MANY, np.array([0, 1, 2, 3]), ["red| round", "round", "|", "round|blue"])
    np.testing.assert_array_equal(truth, [[1, 1], [0, 1], [0, 0], [0, 1]])
    np.testing.assert_array_equal(known, [True, True, True, False])


def test_another_separator():
    assert target_of(TargetSpec(kind="multilabel", separator=", "), ["a, b"]).names == ("a", "b")


def test_numbers():
    target = target_of(VALUE, ["3", "-1e-2"])
    truth, known = truth_of(target, VALUE, np.array([1, 0, 1]), ["3", "-1e-2"])
    np.testing.assert_array_equal(truth, [-0.01, 3.0, -0.01])
    assert known.all()
    assert target.outputs == 1


@pytest.mark.parametrize("label", ["large", "", "nan", "inf"])
def test_a_label_that_is_no_number_is_refused(label):
    with pytest.raises(DataError, match=r"the label .* is no finite number\. Correct the column of labels"):
        truth_of(target_of(VALUE, []), VALUE, np.array([0]), [label])


def test_balanced_classes_weigh_the_same():
    truth = np.array([0, 0, 0, 2])
    weights = Target("classes", ("a", "b", "c")).balance(truth)
    np.testing.assert_allclose(weights, [4 / 6, 0.0, 2.0])
    assert weights[truth].sum() == pytest.approx(4.0)


def test_balanced_labels_weigh_presence_and_absence_the_same():
    truth = np.array([[1, 0], [0, 0], [0, 0], [0, 1]], np.float32)
    weights = Target("multilabel", ("a", "b")).balance(truth)
    np.testing.assert_allclose(weights, [[4 / 6, 4 / 6], [2.0, 2.0]])


def test_numbers_have_no_balance():
    assert Target("regression", ("value",)).balance(np.array([1.0])) is None
