"""Several recipes from one content: each gets the pixels that it gets alone, and what decodes alike is decoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.images.files import PHOTO, encoded, recipe, turned
from trunkline.errors import UnreadableImage
from trunkline.images import KERAS_DECODER, decoding, load, load_each
from trunkline.specs import Recipe

KERAS = recipe(decoder=KERAS_DECODER, pixels="float32", fit="stretch", exif="ignored", size=64)
RECIPES = [
    recipe(size=64),
    recipe(size=64, precision="bf16"),
    recipe(size=48, fit="stretch", kernel="area"),
    recipe(size=64, exif="ignored"),
    recipe(size=64, decode="scaled"),
    recipe(size=100, decode="scaled"),
    KERAS,
    KERAS.model_copy(update={"pixels": "uint8"}),
]
LARGE = encoded(PHOTO.resize((1600, 1200)), "JPEG", quality=90)
TURNED = turned(PHOTO.resize((320, 240)), "JPEG", 6, quality=90)
CONTENTS = {
    "large": LARGE,
    "turned": TURNED,
    "png": encoded(PHOTO, "PNG"),
    "cut": LARGE[:5000],
    "no image": b"hello",
    "empty": b"",
}


def alone(content: bytes, one: Recipe) -> object:
    try:
        return load(content, one)
    except UnreadableImage as error:
        return error


@pytest.mark.parametrize("name", CONTENTS)
def test_each_recipe_gets_what_it_gets_alone(name: str):
    together = load_each(CONTENTS[name], RECIPES)
    assert len(together) == len(RECIPES)
    for one, found in zip(RECIPES, together, strict=True):
        expected = alone(CONTENTS[name], one)
        if isinstance(expected, UnreadableImage):
            assert isinstance(found, UnreadableImage)
            assert (found.reason, found.detail) == (expected.reason, expected.detail)
        else:
            assert found.dtype == expected.dtype  # type: ignore[union-attr, attr-defined]
            np.testing.assert_array_equal(found, expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "recipes", "times"),
    [
        (LARGE, RECIPES[:1], 1),
        (LARGE, RECIPES[:3], 1),
        (LARGE, [RECIPES[4], RECIPES[4].model_copy(update={"size": 65})], 1),
        (LARGE, RECIPES[4:6], 1),  # both at a quarter
        (LARGE, [RECIPES[0], RECIPES[4]], 2),  # whole, and at a quarter
        (CONTENTS["png"], [RECIPES[0], RECIPES[4]], 1),  # only JPEGs are reduced
        (LARGE, [RECIPES[0], RECIPES[3]], 2),
        (LARGE, [RECIPES[0], KERAS], 1),  # the other one decodes in its own way
        (LARGE, RECIPES, 3),
    ],
)
def test_what_decodes_alike_is_decoded_once(
    content: bytes, recipes: Sequence[Recipe], times: int, monkeypatch: pytest.MonkeyPatch
):
    decoded: list[object] = []
    whole = decoding.view
    monkeypatch.setattr(decoding, "view", lambda *given, **how: decoded.append(how) or whole(*given, **how))
    load_each(content, recipes)
    assert len(decoded) == times


def test_recipes_that_prepare_alike_are_given_the_same_pixels():
    first, second, third = load_each(LARGE, [RECIPES[0], RECIPES[1], RECIPES[2]])
    assert first is second
    assert first is not third
