"""Bytes and a recipe to the network's pixels: every way, every shape, and the reduced decoding of large JPEGs."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from tests.images.files import CHINA, PHOTO, PHOTOS, as_ycck, encoded, kinds, recipe, turned
from trunkline.errors import UnreadableImage
from trunkline.images import KERAS_DECODER, decode, jpeg, load, prepare
from trunkline.images.headers import read_header
from trunkline.images.jpeg import factor_for

LARGE = CHINA.resize((1920, 1280), Image.Resampling.BICUBIC)


def test_the_default_recipe_is_decode_and_prepare():
    for content in (*PHOTOS.values(), *kinds().values()):
        np.testing.assert_array_equal(load(content, recipe()), prepare(decode(content), 224, "crop", "bilinear"))


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (17, 3), (160, 120)])
def test_every_way_gives_its_shape_and_dtype(size):
    contents = [encoded(PHOTO.resize(size), "PNG"), encoded(PHOTO.resize(size), "JPEG")]
    kernels = [("area", False), *product(("bilinear", "bicubic", "lanczos"), (False, True))]
    for content, fit, (kernel, antialias), pixels, how, exif in product(
        contents, ("crop", "stretch", "pad"), kernels, ("uint8", "float32"), ("exact", "scaled"), ("upright", "ignored")
    ):
        way = recipe(size=32, fit=fit, kernel=kernel, antialias=antialias, pixels=pixels, decode=how, exif=exif)
        square = load(content, way)
        assert (square.shape, square.dtype, square.flags.c_contiguous) == ((32, 32, 3), pixels, True)


@pytest.mark.parametrize("pixels", ["uint8", "float32"])
def test_the_decoder_of_keras_gives_either_dtype(pixels):
    square = load(PHOTOS["china"], recipe(decoder=KERAS_DECODER, pixels=pixels))
    assert (square.shape, square.dtype) == ((224, 224, 3), pixels)


@pytest.mark.parametrize("decoder", ["libjpeg-turbo+pillow/1", KERAS_DECODER])
def test_what_cannot_be_read_has_a_reason(decoder):
    for content, reason in ((b"", "empty"), (b"text", "not-an-image"), (PHOTOS["china"][:5000], "truncated")):
        with pytest.raises(UnreadableImage) as caught:
            load(content, recipe(decoder=decoder))
        assert caught.value.reason == reason


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_exif_is_undone_or_ignored(form):
    plain, sideways = encoded(PHOTO, form), turned(PHOTO, form, 6)
    np.testing.assert_array_equal(load(sideways, recipe(exif="ignored")), load(plain, recipe()))
    square = load(plain, recipe(size=120))  # as large as it is, so that nothing is rounded
    np.testing.assert_array_equal(load(sideways, recipe(size=120)), np.rot90(square, -1))


@pytest.mark.parametrize(
    ("height", "width", "size", "fit", "factor"),
    [
        (1792, 2000, 224, "crop", 8),
        (1791, 2000, 224, "crop", 8),  # 223.9 columns become 224
        (1784, 2000, 224, "stretch", 4),
        (896, 5000, 224, "crop", 4),
        (896, 5000, 224, "stretch", 4),
        (896, 5000, 224, "pad", 8),
        (447, 900, 224, "crop", 2),
        (446, 900, 224, "crop", 1),
        (100, 100, 224, "crop", 1),
        (1, 20_000, 32, "pad", 8),
        (1, 20_000, 32, "crop", 1),
    ],
)
def test_the_reduction_leaves_what_the_resize_needs(height, width, size, fit, factor):
    header = read_header(encoded(Image.new("L", (width, height)), "JPEG"))
    assert factor_for(header, size, fit) == factor


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}])
def test_scaled_is_about_the_exact_picture(fit, orientation, how):
    content = turned(LARGE, "JPEG", orientation, quality=90, **how)
    for size in (100, 160, 224, 320):  # 1/8, 1/8, 1/4, 1/4
        way = {"size": size, "fit": fit, "antialias": True, "pixels": "float32"}
        assert 0 < np.abs(load(content, recipe(**way)) - load(content, recipe(**way, decode="scaled"))).mean() < 3


@pytest.mark.parametrize(("side", "factor", "left"), [(1921, 8, 240), (1924, 8, 241), (1927, 4, 482), (3, 2, 2), (1, 8, 1)])
def test_a_reduced_side_is_rounded(side, factor, left):
    content = encoded(Image.new("L", (side, 1)), "JPEG")
    assert jpeg.decode(content, read_header(content), factor).shape == (1, left, 3)


def test_scaled_is_exact_where_nothing_is_reduced():
    for content in (PHOTOS["china"], turned(CHINA, "JPEG", 6), *kinds().values()):
        np.testing.assert_array_equal(load(content, recipe(size=320, decode="scaled")), load(content, recipe(size=320)))


@pytest.mark.parametrize("make", [lambda content: content, as_ycck])
def test_cmyk_is_scaled_too(make):
    content = make(encoded(LARGE.convert("CMYK"), "JPEG"))
    exact, scaled = (load(content, recipe(antialias=True, decode=way)).astype(int) for way in ("exact", "scaled"))
    assert 0 < np.abs(exact - scaled).mean() < 3


@pytest.mark.parametrize("how", [{}, {"progressive": True}])
def test_scaled_is_as_strict_about_truncation(how):
    out = io.BytesIO()
    LARGE.save(out, "JPEG", **how)
    content = out.getvalue()
    for share, end in product((0.3, 0.6, 0.9, 0.99), (b"", b"\xff\xd9")):
        with pytest.raises(UnreadableImage) as caught:
            load(content[: int(len(content) * share)] + end, recipe(decode="scaled"))
        assert caught.value.reason in ("truncated", "corrupt")
