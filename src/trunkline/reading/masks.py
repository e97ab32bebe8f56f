"""Masks by name: the pinned one of the default rule, or one by its URI."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from trunkline import selection
from trunkline.errors import DataError
from trunkline.locations import Location
from trunkline.selection import Mask
from trunkline.specs import Recipe, SelectSpec
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore


def pinned(store: FeatureStore, features: FeatureSet) -> Mask:
    """The mask under the default rule. Raises DataError where there is none, naming those of other rules."""
    folder = store.beside("masks", features)
    mask = selection.load_latest(folder / SelectSpec().digest())
    if mask is None:
        others = [(folder / rule).uri for rule in folder.names()]
        there = (
            f"There are masks of other rules; give one as mask=URI: {', '.join(others)}." if others else "There is none at all."
        )
        raise DataError(
            f"{features.location} has no mask under the default rule; `trunkline select` or `trunkline run` makes one. {there}"
        )
    return mask


def at(uri: str | os.PathLike[str]) -> Mask:
    """A mask's file, or the latest in the folder of its rule. Raises DataError where there is none."""
    location = Location.of(uri)
    try:
        mask = selection.load(location) if location.name.endswith(".npz") else selection.load_latest(location)
    except FileNotFoundError:
        mask = None
    if mask is None:
        raise DataError(f"There is no mask at {location}. Masks lie at STORE/masks/<dataset>/<recipe>/<rule>/mask-000000.npz.")
    return mask


def kept(mask: Mask, layer: str, width: int, recipe: Recipe) -> NDArray[np.bool_]:
    """Which columns of a layer stay, (width,) bool. Raises DataError for a mask of other features."""
    if mask.recipe not in ("", recipe.digest()):
        raise DataError(
            f"The mask {mask.location} was fitted on features of the recipe {mask.recipe}, and these are of {recipe.digest()} "
            f"({recipe.backbone}): their columns mean something else. Fit one on them: `trunkline select`."
        )
    if layer not in mask.layers:
        raise DataError(f"The mask {mask.location} is not about the layer {layer!r}, but about {', '.join(mask.layers)}.")
    columns = mask.layers[layer].kept
    if columns.shape != (width,):
        raise DataError(
            f"The mask {mask.location} is for {len(columns)} features, and {layer} has {width}: it was fitted on another feature set."
        )
    return columns
