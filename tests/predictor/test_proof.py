"""The proof: what counts as the same answer, and what ends an export."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.errors import RunError
from trunkline.heads.targets import Target
from trunkline.predictor.proof import compared, refuse_unless_proven

CLASSES, LABELS = Target("classes", ("a", "b", "c")), Target("multilabel", ("a", "b"))
VALUE = Target("regression", ("value",))


def test_equal_labels_and_small_differences_hold():
    pipeline = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    proof = compared(CLASSES, pipeline, (pipeline + 5e-5).astype(np.float32))
    assert (proof.images, proof.labels_equal, proof.ties, proof.holds) == (2, 2, 0, True)
    assert proof.largest_difference == pytest.approx(5e-5, rel=0.01)


def test_another_label_does_not_hold_however_near():
    pipeline = np.array([[0.50002, 0.49998, 0.0]])
    answers = np.array([[0.49998, 0.50002, 0.0]])
    proof = compared(CLASSES, pipeline, answers)
    assert (proof.labels_equal, proof.ties, proof.holds) == (0, 0, False)


def test_what_the_pipeline_cannot_tell_apart_is_a_tie():
    pipeline = np.array([[0.5, 0.5, 0.0]])
    proof = compared(CLASSES, pipeline, np.array([[0.5, 0.500001, 0.0]]))
    assert (proof.labels_equal, proof.ties, proof.holds) == (0, 1, True)
    proof = compared(LABELS, np.array([[0.5, 0.1]]), np.array([[0.499999, 0.1]]))
    assert (proof.labels_equal, proof.ties, proof.holds) == (0, 1, True)
    assert not compared(LABELS, np.array([[0.50005, 0.1]]), np.array([[0.49999, 0.1]])).holds


def test_values_are_compared_relative_to_their_size():
    assert compared(VALUE, np.array([[1000.0]]), np.array([[1000.05]])).holds
    assert not compared(VALUE, np.array([[1000.0]]), np.array([[1000.5]])).holds
    assert not compared(VALUE, np.array([[0.0]]), np.array([[0.001]])).holds


def test_differences_that_are_too_large_end_the_export():
    pipeline = np.array([[0.7, 0.2, 0.1]])
    refuse_unless_proven("predictor.onnx", compared(CLASSES, pipeline, pipeline))
    for wrong in (pipeline + 2e-4, pipeline * np.nan):
        with pytest.raises(RunError, match=r"predictor\.onnx does not answer as the pipeline does: on 1 real images"):
            refuse_unless_proven("predictor.onnx", compared(CLASSES, pipeline, wrong))
