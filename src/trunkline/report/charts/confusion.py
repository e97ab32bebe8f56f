"""The confusion matrix: cells to write out, or a picture where there are too many."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RIGHT_RGB, WRONG_RGB = (42, 127, 178), (217, 95, 30)  # mid-tones, legible on white and on near-black


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix; `strength` in [0, 1] is how strongly it is coloured."""

    count: int
    strength: float
    right: bool


def confusion_cells(confusion: NDArray[np.int64]) -> list[list[Cell]]:
    """Rows of cells of a (classes, classes) confusion matrix, each coloured by its share of the row's truth."""
    strength = _strength(confusion)
    size = range(len(confusion))
    return [[Cell(int(confusion[i, j]), round(float(strength[i, j]), 3), i == j) for j in size] for i in size]


def confusion_image(confusion: NDArray[np.int64]) -> str:
    """Paint a confusion matrix too large for numbers, a pixel a cell, as a transparent PNG in a `data:` URI."""
    rgba = np.empty((*confusion.shape, 4), np.uint8)
    rgba[..., :3] = np.where(np.eye(len(confusion), dtype=bool)[..., None], RIGHT_RGB, WRONG_RGB)
    rgba[..., 3] = np.round(255 * _strength(confusion))
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _strength(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the row; its cube root beside the diagonal, so that rare mistakes are seen too."""
    share: NDArray[np.float64] = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    strength = np.cbrt(share)
    np.fill_diagonal(strength, share.diagonal())
    return strength
