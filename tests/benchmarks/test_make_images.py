"""The maker of photo-like JPEGs: the same bytes each time, sizes and weights as photos have them."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.make_images import SIZES, make_image, make_images

COUNT = 24


@pytest.fixture(scope="module")
def made() -> list[bytes]:
    return [make_image(number) for number in range(COUNT)]


def test_the_same_number_and_seed_give_the_same_bytes(made):
    assert [make_image(number) for number in (0, 7)] == [made[0], made[7]]
    assert make_image(0, seed=1) != made[0]
    assert len(set(made)) == COUNT


def test_sizes_are_those_of_photos(made):
    sizes = Counter(Image.open(io.BytesIO(content)).size for content in made)
    assert set(sizes) <= set(SIZES)
    assert sizes.most_common(1)[0][0] == (500, 375)


def test_files_weigh_what_photos_weigh(made):
    weights = [len(content) for content in made]
    assert 60_000 <= np.mean(weights) <= 120_000
    assert min(weights) > 20_000


def test_brightness_falls_off_as_in_photos(made):
    """Amplitude against frequency on logarithmic axes has a slope near -1 in photos, 0 in white noise."""
    grey = np.asarray(Image.open(io.BytesIO(made[0])).convert("L"), np.float64)
    side = min(grey.shape)
    window = np.hanning(side)[:, None] * np.hanning(side)[None, :]
    spectrum = np.abs(np.fft.fft2((grey[:side, :side] - grey.mean()) * window))
    frequency = np.rint(np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :]) * side).astype(int)
    rings = np.arange(4, side // 5)
    amplitudes = [spectrum[frequency == ring].mean() for ring in rings]
    slope = np.polyfit(np.log(rings), np.log(amplitudes), 1)[0]
    assert -1.7 < slope < -0.7


def test_files_lie_in_ten_class_folders(tmp_path):
    places = list(make_images(tmp_path, 11))
    assert len({place.parent for place in places}) == 10
    assert places[10].read_bytes() == make_image(10)
