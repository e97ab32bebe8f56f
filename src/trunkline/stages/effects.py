"""What a faster recipe does to the features: the same images in float32, or decoded whole, compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from trunkline.backbones.compiled import Compiled
from trunkline.backbones.golden import cosines
from trunkline.locations import Location
from trunkline.reader import Features
from trunkline.reextraction import Reextraction, sampled
from trunkline.store.feature_set import FeatureSet

SAMPLE = 64


@dataclass(frozen=True)
class Effect:
    """Cosine between stored features and those of the exact recipe, over all layers: the mean and the lowest of `images`."""

    what: str
    images: int
    mean_cosine: float
    lowest_cosine: float


def measured(features: Features, backbone: Compiled) -> Sequence[Effect]:
    """Of a recipe's precision and decode policy on up to 64 random images, measured once and kept beside the features.

    Empty for an exact recipe in float32.
    """
    recipe = features.recipe
    if (recipe.precision == "f32" and recipe.decode == "exact") or _place(features.feature_set).exists():
        return stored(features.feature_set)
    found = []
    if recipe.precision != "f32":
        exact = replace(backbone, precision="f32")
        found.append(_effect(f"{recipe.precision} against f32", Reextraction(features, exact, recipe, "openvino"), features))
    if recipe.decode != "exact":
        whole = recipe.model_copy(update={"decode": "exact"})
        runtime = "tensorflow" if recipe.precision == "mixed_float16" else "openvino"
        again = Reextraction(features, backbone, whole, runtime)
        found.append(_effect(f"{recipe.decode} decoding against exact", again, features))
    _place(features.feature_set).write(json.dumps([asdict(each) for each in found if each.images]).encode())
    return stored(features.feature_set)


def stored(feature_set: FeatureSet) -> Sequence[Effect]:
    """What was measured before."""
    place = _place(feature_set)
    return [Effect(**each) for each in json.loads(place.read())] if place.exists() else []


def _place(feature_set: FeatureSet) -> Location:
    return feature_set.location / "effects.json"


def _effect(what: str, again: Reextraction, features: Features) -> Effect:
    found = [
        float(cosines(values[None], features.read(np.array([each.row]), layer))[0])
        for each in again.of(sampled(features, SAMPLE, seed=0))
        for layer, values in each.features.items()
    ]
    images = len(found) // len(features.layers)
    return Effect(what, images, float(np.mean(found)) if found else 0.0, min(found, default=0.0))
