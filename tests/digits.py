"""Handwritten digits as image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder: Path, count: int) -> Path:
    """So many of them, 32 x 32 grey PNGs in class folders `0` to `9`: `3/0013.png`."""
    data = load_digits()
    for number in range(count):
        grey = np.rint(data.images[number] * (255 / 16)).astype(np.uint8)
        place = folder / str(data.target[number]) / f"{number:04d}.png"
        place.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(grey).resize((32, 32), Image.Resampling.BICUBIC).save(place)
    return folder
