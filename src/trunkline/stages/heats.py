"""Class-activation maps for the report: what in a wrong image speaks for the class it was taken for, and what for its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import images
from trunkline.backbones.compiled import committed_backbone
from trunkline.errors import CorruptStore, DataError, StoreError
from trunkline.heads.artifact import HeadArtifact
from trunkline.heads.opening import OpenHead, open_head
from trunkline.locations import Location
from trunkline.looking import heat
from trunkline.looking.evidence import class_activation, is_linear
from trunkline.reader import Features
from trunkline.report.data import Heat
from trunkline.runtimes.pooled_maps import PooledMaps, pooled_maps

SIDE, QUALITY = 112, 70  # 2 to 5 KB each, and two a mistake

Heats = Sequence[Heat]
Pixels = NDArray[Any]
NOTHING: Heats = ()


def heats_of(
    features: Features,
    head: HeadArtifact,
    pixels: Sequence[Pixels | None],
    wanted: Sequence[tuple[int, int]],
    batch: int | None,
) -> list[Heats]:
    """Small pictures under heat; none where the head is not linear, its features are not the mean of a map, or an image could not be read.

    Parameters
    ----------
    pixels : the images as the network sees them, (size, size, 3); None where one cannot be read.
    wanted : of each, the numbers of the classes whose evidence is wanted; both share one scale.
    batch : of the spec's engine.
    """
    none: list[Heats] = [NOTHING] * len(pixels)
    opened = _opened(features, head)
    pooled = _pooled(features, opened, batch) if opened else None
    if opened is None or pooled is None:
        return none
    readable = {number: each for number, each in enumerate(pixels) if each is not None}
    made = pooled.run(np.stack(list(readable.values()))) if readable else None
    if made is None:
        return none
    maps = dict(zip(readable, made[0], strict=True))
    return [
        _of_one(opened, readable[number], maps[number], wanted[number]) if number in readable else NOTHING
        for number in range(len(pixels))
    ]


def _of_one(head: OpenHead, pixels: Pixels, maps: NDArray[np.float32], outputs: tuple[int, int]) -> Heats:
    evidence = [class_activation(head, maps, output) for output in outputs]
    most = heat.greatest([each.values for each in evidence])
    return tuple(
        Heat(head.target.names[each.output], images.thumbnail(heat.over(pixels, each.values, most), SIDE, QUALITY))
        for each in evidence
    )


def _opened(features: Features, head: HeadArtifact) -> OpenHead | None:
    """None where the head is no linear one, or its mask is gone: the report says the rest."""
    store = Location(features.uri.rsplit("/", 3)[0])
    try:
        opened = open_head(head.location, store, features.recipe.digest(), features.layers)
    except (CorruptStore, DataError):
        return None
    return opened if is_linear(opened) else None


def _pooled(features: Features, head: OpenHead, batch: int | None) -> PooledMaps | None:
    store = Location(features.uri.rsplit("/", 3)[0])
    try:
        compiled = committed_backbone(store, features.recipe, str(batch) if batch else None)
        return pooled_maps(compiled, head.layer, len(os.sched_getaffinity(0)))
    except (StoreError, CorruptStore):
        return None
