"""RGB pixels to a square: which part, where, by which kernel, and in which dtype."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.images.files import CHINA, PHOTO
from trunkline.images import prepare, thumbnail
from trunkline.images.preparing import margins, padded_sides


def test_crop_takes_the_largest_central_square():
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = 200
    assert (prepare(pixels, 40, "crop", "bilinear") == 200).all()
    assert (prepare(pixels.transpose(1, 0, 2), 40, "crop", "area") == 200).all()
    assert not (prepare(pixels, 40, "stretch", "bilinear") == 200).all()


def test_a_square_of_the_right_size_passes_unchanged():
    pixels = np.asarray(PHOTO)
    square = pixels[:, 20:140]
    for kernel in ("bilinear", "area"):
        np.testing.assert_array_equal(prepare(square, 120, "crop", kernel), square)
        np.testing.assert_array_equal(prepare(pixels, 120, "crop", kernel), square)


def test_area_averages_blocks_and_bilinear_does_not():
    pixels = np.asarray(PHOTO)[:, 20:140]
    means = pixels.reshape(30, 4, 30, 4, 3).mean(axis=(1, 3))
    assert np.abs(prepare(pixels, 30, "crop", "area") - means).max() <= 0.5001
    assert np.abs(prepare(pixels, 30, "crop", "bilinear") - means).max() > 10


def test_area_enlarges_as_bilinear_does():
    pixels = np.asarray(PHOTO)[:20, :20]
    enlarged = prepare(pixels, 64, "crop", "area")
    np.testing.assert_array_equal(enlarged, prepare(pixels, 64, "crop", "bilinear"))
    assert len(np.unique(enlarged.reshape(-1, 3), axis=0)) > len(np.unique(pixels.reshape(-1, 3), axis=0))


def test_stretch_keeps_what_crop_would_lose():
    pixels = np.zeros((60, 120, 3), np.uint8)
    pixels[:, :20] = 255
    assert prepare(pixels, 60, "stretch", "area")[:, :9].min() == 255
    assert not prepare(pixels, 60, "crop", "area").any()


@pytest.mark.parametrize(("height", "width", "size"), [(120, 160, (160, 120)), (400, 200, (80, 160)), (8, 8, (160, 160))])
def test_a_thumbnail_keeps_proportions(height, width, size):
    pixels = np.asarray(PHOTO.resize((width, height)))
    content = thumbnail(pixels)
    assert Image.open(io.BytesIO(content)).size == size
    assert simplejpeg.is_jpeg(content)


@pytest.mark.parametrize(
    ("height", "width", "size", "inside", "corner"),
    [
        (120, 160, 64, (48, 64), (8, 0)),
        (160, 120, 64, (64, 48), (0, 8)),
        (375, 500, 225, (169, 225), (28, 0)),  # 168.75
        (3, 2, 99, (99, 66), (0, 16)),  # 33 columns are left: one more on the right
        (3, 4, 99, (74, 99), (12, 0)),  # 74.25
        (5, 10, 33, (17, 33), (8, 0)),  # 16.5, halves up
        (1, 1, 32, (32, 32), (0, 0)),
        (1, 20_000, 32, (1, 32), (15, 0)),
        (20_000, 1, 33, (33, 1), (0, 16)),
    ],
)
def test_pad_keeps_proportions_on_black(height, width, size, inside, corner):
    assert padded_sides(height, width, size) == inside
    assert margins(*inside, size) == corner
    pixels = np.full((height, width, 3), 200, np.uint8)
    for kernel in ("bilinear", "area", "bicubic", "lanczos"):
        square = prepare(pixels, size, "pad", kernel)
        rows, columns = slice(corner[0], corner[0] + inside[0]), slice(corner[1], corner[1] + inside[1])
        assert (square[rows, columns] == 200).all()
        assert int(square.sum()) == 200 * 3 * inside[0] * inside[1]


def test_pad_of_a_square_is_stretch():
    pixels = np.asarray(PHOTO)[:, :120]
    np.testing.assert_array_equal(prepare(pixels, 50, "pad", "bicubic"), prepare(pixels, 50, "stretch", "bicubic"))


@pytest.mark.parametrize(("kernel", "theirs"), [("bicubic", cv2.INTER_CUBIC), ("lanczos", cv2.INTER_LANCZOS4)])
def test_kernels_without_antialias_are_opencvs(kernel, theirs):
    pixels = np.asarray(PHOTO)
    np.testing.assert_array_equal(prepare(pixels, 64, "stretch", kernel), cv2.resize(pixels, (64, 64), interpolation=theirs))


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [48, 300])
def test_antialiased_kernels_are_pillows(kernel, size):
    theirs = PHOTO.resize((size, size), Image.Resampling[kernel.upper()])
    np.testing.assert_array_equal(prepare(np.asarray(PHOTO), size, "stretch", kernel, antialias=True), np.asarray(theirs))
    square = PHOTO.crop((20, 0, 140, 120)).resize((size, size), Image.Resampling[kernel.upper()])
    np.testing.assert_array_equal(prepare(np.asarray(PHOTO), size, "crop", kernel, antialias=True), np.asarray(square))


def test_antialias_averages_what_plain_kernels_skip():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(prepare(stripes, 32, "crop", "bilinear", antialias=True)[:, 4:-4]) <= 2
    assert prepare(stripes, 37, "crop", "bilinear").std() > 20


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize(
    ("kernel", "antialias"),
    [("bilinear", False), ("area", False), ("bicubic", False), ("lanczos", False), ("bilinear", True), ("lanczos", True)],
)
def test_float32_is_the_same_without_rounding(fit, kernel, antialias):
    pixels = np.asarray(CHINA)
    whole = prepare(pixels, 96, fit, kernel, antialias=antialias)
    fine = prepare(pixels, 96, fit, kernel, antialias=antialias, dtype="float32")
    assert (whole.dtype, fine.dtype, fine.shape) == (np.uint8, np.float32, (96, 96, 3))
    assert fine.flags.c_contiguous
    assert 0 <= fine.min() <= fine.max() <= 255
    assert np.abs(fine - whole).mean() <= 0.6  # where Lanczos overshoots, uint8 is clipped between the passes too
    assert (fine != np.rint(fine)).mean() > 0.3


def test_a_very_high_image_is_antialiased_in_little_memory():
    """Rows first, as Pillow does it, would make 100,000 rows of 224 pixels out of rows of one."""
    pixels = np.repeat(np.linspace(0, 255, 100_000).astype(np.uint8)[:, None, None], 3, axis=2)
    square = prepare(pixels, 224, "stretch", "bilinear", antialias=True)
    theirs = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR))
    assert np.abs(square.astype(int) - theirs).max() <= 1
