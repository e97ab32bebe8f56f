"""Images of any source → features as extraction makes them; nothing is stored, and an unreadable image never stops the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import images
from trunkline.backbones.compiled import Compiled
from trunkline.engine import Budget, Engine
from trunkline.errors import UnreadableImage
from trunkline.runtimes import Runtime
from trunkline.sources import Listed, Source
from trunkline.specs import Recipe
from trunkline.store.layout import cast

DETAIL = 300  # characters of a decoder's own words


@dataclass(frozen=True)
class NewImage:
    """One image: its features, (dim,) in the recipe's dtype; or None, and why. `uri` is for people."""

    id: str
    uri: str
    features: NDArray[Any] | None = None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class _Loaded:
    image: NewImage
    pixels: NDArray[Any] | None


def extracted(
    source: Source, backbone: Compiled, recipe: Recipe, layer: str, runtime: Runtime, engine: Engine
) -> Iterator[list[NewImage]]:
    """Every image that the source lists, in its order, a few at a time.

    Parameters
    ----------
    backbone, runtime : the recipe's compiled backbone, loaded.
    layer : whose features are wanted.
    engine : readers, images ahead and bytes in flight count.

    Raises
    ------
    SourceError : the source cannot be listed, or holds no image.
    StorageUnreachable : the disk or bucket does not answer.
    """
    pixels = np.zeros((backbone.batch, backbone.size, backbone.size, 3), backbone.pixels)
    waiting: list[NewImage] = []
    filled: list[int] = []  # places in `waiting` of the images in `pixels`
    for loaded in _loaded(source, recipe, engine):
        waiting.append(loaded.image)
        if loaded.pixels is not None:
            pixels[len(filled)] = loaded.pixels
            filled.append(len(waiting) - 1)
        if len(filled) == backbone.batch or len(waiting) >= engine.images_ahead + backbone.batch:
            yield _with_features(waiting, filled, pixels, runtime, layer, recipe.dtype)
            waiting, filled = [], []
    if waiting:
        yield _with_features(waiting, filled, pixels, runtime, layer, recipe.dtype)


def _with_features(
    waiting: list[NewImage], filled: list[int], pixels: NDArray[Any], runtime: Runtime, layer: str, dtype: str
) -> list[NewImage]:
    if not filled:
        return waiting
    pixels[len(filled) :] = 0
    computed = cast(runtime.run(pixels)[layer][: len(filled)], dtype)
    finite = np.isfinite(computed).all(axis=1).tolist()
    for place, values, is_sound in zip(filled, computed, finite, strict=True):
        found = {"features": values} if is_sound else {"reason": "non-finite", "detail": "the backbone gave infinity or NaN"}
        waiting[place] = replace(waiting[place], **found)
    return waiting


def _loaded(source: Source, recipe: Recipe, engine: Engine) -> Iterator[_Loaded]:
    """In the listing's order, read and decoded ahead by threads."""
    budget = Budget(engine.in_flight_bytes)
    ahead: deque[Future[_Loaded]] = deque()
    with ThreadPoolExecutor(engine.readers, "reader") as readers:
        try:
            for listed in source.listing():
                ahead.append(readers.submit(_load, source, recipe, budget, listed))
                if len(ahead) >= engine.images_ahead:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _load(source: Source, recipe: Recipe, budget: Budget, listed: Listed) -> _Loaded:
    image = NewImage(listed.id, source.uri_of(listed.id, listed.place))
    try:
        content, _ = source.fetch(listed.id, listed.place)
        with budget.held(len(content) + images.decoded_bytes(content, recipe)):
            return _Loaded(image, images.load(content, recipe))
    except UnreadableImage as error:
        return _Loaded(replace(image, reason=error.reason, detail=error.detail[:DETAIL]), None)
