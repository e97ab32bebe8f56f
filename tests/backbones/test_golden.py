"""Golden vectors: fixed pictures, and a check that a wrong network cannot pass."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from trunkline.backbones.backbone import BATCH
from trunkline.backbones.golden import check, cosines, golden_pixels
from trunkline.errors import GoldenMismatch

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(BATCH, 40)).astype(np.float32)


def test_the_golden_pictures_are_always_the_same_and_all_different():
    pixels = golden_pixels(64, BATCH)
    assert (pixels.shape, pixels.dtype) == ((BATCH, 64, 64, 3), np.uint8)
    assert len({picture.tobytes() for picture in pixels}) == BATCH
    np.testing.assert_array_equal(pixels, golden_pixels(64, BATCH))
    assert pixels.std(axis=(1, 2)).min() > 60  # something to see in every channel
    assert hashlib.sha256(golden_pixels(32, BATCH).tobytes()).hexdigest()[:16] == "447c1b48faddc6ae"


def test_cosines_are_scipys():
    other = RNG.normal(size=VECTORS.shape).astype(np.float32)
    expected = [1 - cosine(a.astype(float), b.astype(float)) for a, b in zip(VECTORS, other, strict=True)]
    np.testing.assert_allclose(cosines(VECTORS, other), expected, atol=1e-12)


def test_rows_of_zeros_are_equal_to_each_other_and_to_nothing_else():
    zeros, ones = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    assert cosines(zeros, zeros).tolist() == [1.0]
    assert np.isnan(cosines(zeros, ones)).all()


def test_equal_vectors_pass_with_their_lowest_cosine():
    near = VECTORS + 1e-3 * RNG.normal(size=VECTORS.shape).astype(np.float32)
    lowest = check({"a": VECTORS, "b": near}, {"a": VECTORS, "b": VECTORS}, "here")
    assert lowest == pytest.approx(cosines(near, VECTORS).min())
    assert 0.9999 < lowest < 1


def spoiled(row: int, by: float) -> np.ndarray:
    values = VECTORS.copy()
    values[row, 0] += by
    return values


@pytest.mark.parametrize(
    "computed",
    [-VECTORS, VECTORS[::-1], spoiled(31, 1.0), spoiled(5, np.nan), spoiled(5, np.inf), np.zeros_like(VECTORS)],
    ids=["negative", "reversed", "one-row", "nan", "inf", "zeros"],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_one_wrong_row_is_a_mismatch(computed):
    with pytest.raises(
        GoldenMismatch, match=r"^here does not compute what its reference computed .*lowest cosine .*0\.9999 is needed in f32"
    ):
        check({"a": VECTORS, "b": computed}, {"a": VECTORS, "b": VECTORS}, "here")


def test_a_wrong_first_layer_is_not_hidden_by_a_right_second_one():
    with pytest.raises(GoldenMismatch, match="lowest cosine nan"):
        check({"a": spoiled(0, np.nan), "b": VECTORS}, {"a": VECTORS, "b": VECTORS}, "here")


@pytest.mark.parametrize(("precision", "passes"), [("f32", False), ("mixed_float16", False), ("bf16", True)])
def test_a_fast_precision_may_be_a_little_off(precision, passes):
    near = VECTORS + 0.1 * RNG.normal(size=VECTORS.shape).astype(np.float32)
    if passes:
        assert 0.97 < check({"a": near}, {"a": VECTORS}, "here", precision) < 0.999
    else:
        with pytest.raises(GoldenMismatch, match=rf"is needed in {precision}"):
            check({"a": near}, {"a": VECTORS}, "here", precision)
