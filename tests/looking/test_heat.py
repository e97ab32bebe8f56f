"""Heat: nothing where a map is 0 or below, the more the higher; and the whole picture, as it is drawn."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from trunkline.looking import heat
from trunkline.looking.activations import Activations
from trunkline.looking.drawing import CHANNELS, Look, Overlay, draw, strongest

GREY = np.full((40, 40, 3), 100, np.uint8)


def test_nothing_glows_where_a_map_is_zero_or_below():
    found = heat.over(GREY, np.array([[-5.0, 0.0], [0.0, 0.0]]), 2.0)
    np.testing.assert_array_equal(found, GREY)
    np.testing.assert_array_equal(heat.over(GREY, np.ones((2, 2)), 0.0), GREY)


def test_the_highest_value_glows_most_and_keeps_its_place():
    values = np.zeros((4, 4))
    values[0, 3], values[3, 0] = 2.0, 1.0
    found = heat.over(GREY, values, 2.0).astype(int)
    moved = np.abs(found - 100).sum(axis=2)
    assert moved[2, 37] > moved[37, 2] > moved[20, 20] == moved[2, 2] == 0
    red, _, blue = found[2, 37]
    assert red > 200 > 120 > blue
    assert found.shape == (40, 40, 3)


def test_colour_is_taken_away_where_there_is_no_heat():
    red = np.zeros((8, 8, 3), np.float32)
    red[:, :, 0] = 255
    found = heat.over(red, np.zeros((1, 1)), 1.0)
    assert found.dtype == np.uint8
    assert found[0, 0, 0] > found[0, 0, 1] == found[0, 0, 2] > 0


def test_maps_share_one_scale():
    assert heat.greatest([np.array([[1.0, -9.0]]), np.array([[3.0]])]) == 3.0
    assert heat.greatest([np.array([[-1.0]])]) == 0.0
    assert heat.greatest([]) == 0.0


def test_the_channels_that_differ_most_come_first():
    maps = np.zeros((4, 4, 12), np.float32)
    maps[:, :, 3] = 6.0  # strong, and the same all over
    maps[0, 0, 7], maps[0, 0, 2] = 5.0, 1.0
    found = strongest(maps)
    assert found[:2] == [7, 2]
    assert len(found) == CHANNELS


def test_everything_is_drawn_whatever_the_words():
    layers = [Activations("a very long name " * 9, np.random.default_rng(0).normal(size=(6, 3, 2)).astype(np.float32))]
    overlays = [Overlay("for $x^2$ 猫: 50.0%", GREY), Overlay("for " + "y" * 200, GREY)]
    looks = [
        Look("n\n" * 300, "\x1b[31m $\\frac{$", GREY, overlays, "Heat: $x_", layers),
        Look("plain", "", GREY.astype(np.float32), (), "", layers * 2),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = [draw(each) for each in looks]
    for picture in pictures:
        image = Image.open(io.BytesIO(picture))
        assert (image.format, image.size) == ("PNG", (1600, 900))
        assert len(picture) < 2**20
        assert "Software" not in image.info
    assert draw(looks[0]) == pictures[0], "the same look is the same picture"
