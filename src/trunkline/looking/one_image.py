"""One image, prepared and run through the backbone of a feature set as its rows were; the store is only read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import images, runtimes
from trunkline.backbones.compiled import Compiled
from trunkline.errors import DataError, UnreadableImage
from trunkline.looking.asked import Asked, unreadable
from trunkline.sources import Source
from trunkline.specs import Recipe
from trunkline.store.layout import cast


def prepared(image: Asked, source: Source | None, recipe: Recipe) -> NDArray[Any]:
    """(size, size, 3) of the recipe's dtype: what the network sees. Raises SourceError with the reason for what is no image."""
    try:
        return images.load(image.read(source), recipe)
    except UnreadableImage as error:
        raise unreadable(image, error) from error


def vectors_by(backbone: Compiled, runtime: str, recipe: Recipe, layer: str) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What makes features of prepared images as extraction does: (n, size, size, 3) → (n, dim) in the recipe's dtype.

    Raises
    ------
    GoldenMismatch, SpecError : as `runtimes.load`; DataError : the backbone gives infinity or NaN.
    """
    loaded = runtimes.load(runtime, backbone, len(os.sched_getaffinity(0)))

    def vectors(pixels: NDArray[Any]) -> NDArray[Any]:
        found = []
        for first in range(0, len(pixels), backbone.batch):
            some = pixels[first : first + backbone.batch]
            batch = np.zeros((backbone.batch, *pixels.shape[1:]), backbone.pixels)
            batch[: len(some)] = some
            found.append(cast(loaded.run(batch)[layer][: len(some)], recipe.dtype))
        made = np.concatenate(found)
        if not np.isfinite(made).all():
            raise DataError(
                f"{recipe.backbone} gives infinity or NaN on this image, as {layer} in {recipe.dtype}; it has no features."
            )
        return made

    return vectors
