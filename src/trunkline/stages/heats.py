"""Class-activation maps for the report: what in a wrong image speaks for the class it was taken for, and what for its own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from trunkline import images
from trunkline.backbones.compiled import committed_backbone
from trunkline.errors import CorruptStore, DataError, StoreError, UnreadableImage
from trunkline.heads.artifact import HeadArtifact
from trunkline.heads.opening import OpenHead, open_head
from trunkline.locations import Location
from trunkline.looking import heat
from trunkline.looking.evidence import class_activation, is_linear
from trunkline.reader import Features
from trunkline.report.data import Heat
from trunkline.runtimes.pooled_maps import PooledMaps, pooled_maps

SIDE, QUALITY = 112, 70  # some 4 KB each, and two a mistake

Heats = Sequence[Heat]
NOTHING: Heats = ()


def heats_of(
    features: Features,
    head: HeadArtifact,
    contents: Sequence[bytes | None],
    wanted: Sequence[tuple[int, int]],
    batch: int | None,
) -> list[Heats]:
    """Small pictures under heat; none where the head is not linear, its features are not the mean of a map, or an image cannot be read.

    Parameters
    ----------
    contents : the bytes of the images; None where there are none.
    wanted : of each, the numbers of the classes whose evidence is wanted; both share one scale.
    batch : of the spec's engine.
    """
    none = [NOTHING] * len(contents)
    opened = _opened(features, head)
    pooled = _pooled(features, opened, batch) if opened else None
    if opened is None or pooled is None:
        return none
    found = []
    for content, outputs in zip(contents, wanted, strict=True):
        found.append(NOTHING if content is None else _of_one(features, opened, pooled, content, outputs))
    return found


def _of_one(features: Features, head: OpenHead, pooled: PooledMaps, content: bytes, outputs: tuple[int, int]) -> Heats:
    try:
        pixels = images.load(content, features.recipe)
    except UnreadableImage:
        return NOTHING
    made = pooled.run(pixels[None])
    if made is None:
        return NOTHING
    evidence = [class_activation(head, made[0][0], output) for output in outputs]
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
