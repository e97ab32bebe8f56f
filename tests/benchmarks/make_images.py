"""Photo-like JPEGs for benchmarks: the cost of decoding depends on sizes, detail and quality, not on what they show.

Photos have amplitudes that fall like 1/f (Field 1987, J. Opt. Soc. Am. A 4, 2379) and objects that hide each other, with sharp
edges and textures of their own ("dead leaves", Lee, Mumford & Huang 2001, Int. J. Computer Vision 41, 35). 250 ImageNet photos
had 2.6 to 6.5 bits a pixel in the middle half; these lie there too.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

SIZES = ((500, 375), (500, 375), (500, 375), (500, 333), (375, 500))  # width, height; as ImageNet's are spread
QUALITIES = (85, 96)
TEXTURES = 6
TEXTURE_SIDE = 1024
CLASSES = 10


def make_images(folder: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """Write `count` JPEGs into ten class folders, yielding each path; the same bytes for the same seed and libraries."""
    for number in range(count):
        place = folder / f"class-{number % CLASSES}" / f"photo-{number:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(make_image(number, seed))
        yield place


def make_image(number: int, seed: int = 0) -> bytes:
    """The JPEG of one image, a function of (number, seed) alone."""
    random = np.random.default_rng((seed, number))
    width, height = SIZES[random.integers(len(SIZES))]
    scene = _surface(random, height, width)
    for _ in range(random.integers(20, 60)):
        _lay_leaf(random, scene)
    scene = cv2.GaussianBlur(scene, (0, 0), float(random.uniform(0.4, 0.7)))  # the lens
    scene += random.normal(0.0, random.uniform(1.0, 5.5), scene.shape).astype(np.float32)  # the sensor
    pixels = np.clip(np.rint(scene), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=int(random.integers(*QUALITIES)))
    return out.getvalue()


def _surface(random: np.random.Generator, height: int, width: int) -> Floats:
    """One material: a colour, brightness that follows a 1/f texture, and a little 1/f colour on it."""
    textures = _textures()
    light, tint = textures[random.integers(TEXTURES)], textures[random.integers(TEXTURES)]
    contrast, colourful = random.uniform(20.0, 80.0), random.uniform(2.0, 10.0)
    direction = random.normal(0.0, 1.0, 3).astype(np.float32)
    surface = contrast * _piece(random, light, height, width)[..., None]
    surface = surface + colourful * _piece(random, tint, height, width)[..., None] * direction
    return np.asarray(surface + random.uniform(50.0, 200.0, 3), np.float32)


def _lay_leaf(random: np.random.Generator, scene: Floats) -> None:
    """Lay an ellipse or a polygon of another material over the scene; its size follows a power law, as objects' do."""
    height, width = scene.shape[:2]
    radius = min(8.0 / random.uniform(0.03, 1.0), 160.0)
    centre = np.array([random.uniform(0, width), random.uniform(0, height)])
    corners = int(random.choice([3, 4, 5, 24]))
    angles = np.sort(random.uniform(0.0, 2.0 * np.pi, corners))
    axes = radius * random.uniform(0.5, 1.0, 2)
    outline = np.rint(centre + axes * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [outline], 1)
    left, top, across, down = cv2.boundingRect(mask)
    if across and down:
        inside = mask[top : top + down, left : left + across].astype(bool)
        scene[top : top + down, left : left + across][inside] = _surface(random, down, across)[inside]


def _piece(random: np.random.Generator, texture: Floats, height: int, width: int) -> Floats:
    top, left = random.integers(TEXTURE_SIDE - height), random.integers(TEXTURE_SIDE - width)
    piece = texture[top : top + height, left : left + width]
    return piece[:: random.choice([-1, 1]), :: random.choice([-1, 1])]


@cache
def _textures() -> tuple[Floats, ...]:
    """Noise with amplitudes of f^-0.9 to f^-1.3, mean 0 and deviation 1; images take pieces of these."""
    random = np.random.default_rng(1987)
    frequency = np.hypot(np.fft.fftfreq(TEXTURE_SIDE)[:, None], np.fft.rfftfreq(TEXTURE_SIDE)[None, :])
    frequency[0, 0] = np.inf
    made = []
    for slope in np.linspace(0.9, 1.3, TEXTURES):
        phases = np.exp(2j * np.pi * random.random(frequency.shape))
        noise = np.fft.irfft2(frequency**-slope * phases, s=(TEXTURE_SIDE, TEXTURE_SIDE))
        made.append(np.asarray(noise / noise.std(), np.float32))
    return tuple(made)
