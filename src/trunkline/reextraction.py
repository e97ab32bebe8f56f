"""Extracting a few rows again, in this process: how the audit and the effects of a fast recipe are measured."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline import environment, images, runtimes
from trunkline.backbones.compiled import Compiled
from trunkline.errors import UnreadableImage
from trunkline.reader import Features
from trunkline.specs import Recipe
from trunkline.store.layout import cast


@dataclass(frozen=True)
class Again:
    """One row extracted again: SHA-256 of the bytes that are there now, and layer → (dim,) features, or why there are none."""

    row: int
    id: str
    sha256: str
    features: dict[str, NDArray[np.float32]]
    reason: str = ""


def sampled(features: Features, count: int, seed: int) -> NDArray[np.int64]:
    """Up to `count` committed rows drawn at random, ascending."""
    rows = features.rows()
    drawn = np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False)
    return np.sort(drawn)


class Reextraction:
    """A backbone loaded in this process, over all its cores.

    Parameters
    ----------
    features : whose rows are extracted again.
    backbone : of the feature set, or the same network in another precision.
    recipe : how images become pixels, and what dtype features are rounded to.
    runtime : `openvino` or `tensorflow`.
    """

    def __init__(self, features: Features, backbone: Compiled, recipe: Recipe, runtime: str) -> None:
        self._features, self._backbone, self._recipe = features, backbone, recipe
        self._runtime = runtimes.load(runtime, backbone, len(os.sched_getaffinity(0)))
        self.environment = {**environment.fingerprint(), **self._runtime.fingerprint(), "batch": str(backbone.batch)}

    def of(self, rows: NDArray[np.int64]) -> Iterator[Again]:
        """The rows, in order, a batch at a time; whatever bytes the source holds now."""
        images = self._features.snapshot.listed(rows)
        known = list(zip(rows.tolist(), images["id"].to_pylist(), images["place"].to_pylist(), strict=True))
        for start in range(0, len(known), self._backbone.batch):
            yield from self._batch(known[start : start + self._backbone.batch])

    def _batch(self, rows: Sequence[tuple[int, str, str]]) -> Iterator[Again]:
        pixels = np.zeros((self._backbone.batch, self._backbone.size, self._backbone.size, 3), self._backbone.pixels)
        again = []
        for number, (row, image_id, place) in enumerate(rows):
            sha256, reason = "", ""
            try:
                content, _ = self._features.dataset.source.fetch(image_id, place)
                sha256 = hashlib.sha256(content).hexdigest()
                pixels[number] = images.load(content, self._recipe)
            except UnreadableImage as error:
                reason = error.reason
            again.append(Again(row, image_id, sha256, {}, reason))
        computed = self._runtime.run(pixels)
        for number, each in enumerate(again):
            found = (
                {} if each.reason else {layer: cast(values[number], self._recipe.dtype) for layer, values in computed.items()}
            )
            yield Again(each.row, each.id, each.sha256, found, each.reason)
