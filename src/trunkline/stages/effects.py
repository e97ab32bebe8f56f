"""What a faster recipe does to the features: the same images in float32, or decoded whole, compared."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from trunkline.backbones.compiled import Compiled
from trunkline.backbones.golden import cosines
from trunkline.errors import TrunklineError
from trunkline.locations import Location
from trunkline.reader import Features
from trunkline.reextraction import Reextraction, sampled
from trunkline.store.feature_set import FeatureSet

SAMPLE = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effect:
    """Cosine between stored features and those of the exact recipe, over all layers: the mean and the lowest of `images`."""

    what: str
    images: int
    mean_cosine: float
    lowest_cosine: float


def measured(features: Features, backbone: Compiled) -> Sequence[Effect]:
    """Of a recipe's precision, decode policy and dtype on up to 64 random images, measured once and kept beside the features.

    Empty for an exact recipe in float32. Where it cannot be measured here, as on a driver whose processor lacks bfloat16, a line of the
    log says why: what was extracted is done all the same.
    """
    recipe = features.recipe
    if (recipe.precision, recipe.decode, recipe.dtype) == ("f32", "exact", "float32") or _place(features.feature_set).exists():
        return stored(features.feature_set)
    try:
        found = [each for each in _measured(features, backbone) if each.images]
    except TrunklineError as error:
        log.warning("The effect of the recipe on the features was not measured: %s", error)
        return []
    _place(features.feature_set).write(json.dumps([asdict(each) for each in found]).encode())
    return found


def _measured(features: Features, backbone: Compiled) -> Iterator[Effect]:
    recipe = features.recipe
    runtime = "tensorflow" if recipe.precision == "mixed_float16" else "openvino"
    if recipe.precision != "f32":
        exact = replace(backbone, precision="f32")
        yield _effect(f"{recipe.precision} against f32", Reextraction(features, exact, recipe, "openvino"), features)
    if recipe.decode != "exact":
        whole = recipe.model_copy(update={"decode": "exact"})
        yield _effect(f"{recipe.decode} decoding against exact", Reextraction(features, backbone, whole, runtime), features)
    if recipe.dtype != "float32":
        unrounded = recipe.model_copy(update={"dtype": "float32"})
        yield _effect(
            f"stored in {recipe.dtype} against float32", Reextraction(features, backbone, unrounded, runtime), features
        )


def stored(feature_set: FeatureSet) -> Sequence[Effect]:
    """What was measured before."""
    place = _place(feature_set)
    return [Effect(**each) for each in json.loads(place.read())] if place.exists() else []


def _place(feature_set: FeatureSet) -> Location:
    return feature_set.location / "effects.json"


def _effect(what: str, again: Reextraction, features: Features) -> Effect:
    index = features.index()
    rows = sampled(features, SAMPLE, seed=0)
    committed = index["sha256"].take(np.searchsorted(index["row"].to_numpy(), rows)).to_pylist()
    found = [
        float(cosines(values[None], features.read(np.array([each.row]), layer))[0])
        for each, sha256 in zip(again.of(rows), committed, strict=True)
        if each.sha256 == sha256  # another picture would say nothing of the recipe
        for layer, values in each.features.items()
    ]
    images = len(found) // len(features.layers)
    return Effect(what, images, float(np.mean(found)) if found else 0.0, min(found, default=0.0))
