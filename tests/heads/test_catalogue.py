"""From a spec to the head it names."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trunkline.heads.catalogue import fit_head
from trunkline.heads.forest import Forest
from trunkline.heads.softmax import Softmax
from trunkline.specs import ForestSpec, SoftmaxSpec

DATA = load_digits()
PIXELS, DIGITS = DATA.data.astype(np.float32), DATA.target.astype(np.int64)


@pytest.mark.parametrize(
    ("spec", "kind", "files"),
    [
        (SoftmaxSpec(C=(0.01,)), Softmax, ["softmax.npz"]),
        (ForestSpec(trees=20), Forest, ["forest.skops"]),
    ],
)
def test_every_head_learns_digits_and_keeps_the_promises_of_a_head(spec, kind, files):
    head = fit_head(spec, PIXELS[:1000], DIGITS[:1000], 10, seed=0)
    assert isinstance(head, kind)
    found = head.probabilities(PIXELS[1000:])
    assert (found.shape, found.dtype) == ((797, 10), np.float64)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found.min() >= 0
    assert (found.argmax(axis=1) == DIGITS[1000:]).mean() > 0.85
    assert list(head.files()) == files
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in head.chosen.items())


def test_what_is_no_head_is_refused():
    with pytest.raises(AssertionError, match="Expected code to be unreachable"):
        fit_head("softmax", PIXELS[:10], DIGITS[:10], 10, seed=0)  # type: ignore[arg-type]
