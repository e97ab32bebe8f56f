"""Masks: which features survive the variance filter, an artifact that is pinned until somebody asks to refit it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import npz
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.variance_filter import LayerMask

__all__ = ["LayerMask", "Mask", "Move", "create", "load", "load_latest", "moved"]


@dataclass(frozen=True)
class Mask:
    """Which features survive, layer by layer.

    Parameters
    ----------
    rows : how many training images decided it.
    recipe : digest of the recipe of the feature set it belongs to; '' in masks of before this was written down.
    stop : one past the last row that the manifest had then: batches that start there or later were added since; 0 where unknown.
    """

    location: Location
    rows: int
    layers: Mapping[str, LayerMask]
    recipe: str = ""
    stop: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of which columns stay, layer by layer, 16 hex digits."""
        content = hashlib.sha256()
        for layer, mask in self.layers.items():
            content.update(layer.encode() + b"\0" + mask.kept.tobytes())
        return content.hexdigest()[:16]


@dataclass(frozen=True)
class Move:
    """How a new mask differs from the one before: features kept then and now, dropped and added by the change, and both over either."""

    kept_before: int
    kept_after: int
    dropped: int
    added: int
    overlap: float


def moved(before: LayerMask, after: LayerMask) -> Move:
    """The move of one layer; `overlap` is the Jaccard index of the features that are kept."""
    both, either = before.kept & after.kept, before.kept | after.kept
    return Move(
        kept_before=int(before.kept.sum()),
        kept_after=int(after.kept.sum()),
        dropped=int((before.kept & ~after.kept).sum()),
        added=int((after.kept & ~before.kept).sum()),
        overlap=float(both.sum() / max(either.sum(), 1)),
    )


def load_latest(folder: Location) -> Mask | None:
    """The pinned mask under this rule: the one with the highest number."""
    names = [name for name in folder.names() if name.startswith("mask-")]
    return load(folder / names[-1]) if names else None


def create(folder: Location, rows: int, layers: Mapping[str, LayerMask], recipe: str = "", stop: int = 0) -> Mask:
    """Write the next mask; where another run wrote it first, that one holds."""
    names = [name for name in folder.names() if name.startswith("mask-")]
    number = 1 + int(names[-1].removeprefix("mask-").removesuffix(".npz")) if names else 0
    location = folder / f"mask-{number:06d}.npz"
    thresholds = {layer: mask.threshold for layer, mask in layers.items()}
    said = json.dumps({"rows": rows, "thresholds": thresholds, "recipe": recipe, "stop": stop})
    arrays = {f"{layer}/{name}": array for layer, mask in layers.items() for name, array in mask.arrays().items()}
    try:
        location.create(npz.packed({"said": np.array(said), **arrays}))
    except FileExistsError:
        return load(location)
    return Mask(location, rows, layers, recipe, stop)


def load(location: Location) -> Mask:
    """Raises CorruptStore for a damaged mask."""
    content = location.read()
    try:
        stored = npz.unpacked(content)
        said = json.loads(str(stored["said"]))
        layers = {layer: _layer(stored, layer, threshold) for layer, threshold in said["thresholds"].items()}
        return Mask(location, int(said["rows"]), layers, said.get("recipe", ""), int(said.get("stop", 0)))
    except Exception as error:
        raise CorruptStore(
            f"The mask {location} is damaged ({error}). Delete it: it is fitted anew from the moments."
        ) from error


def _layer(stored: Mapping[str, NDArray[Any]], layer: str, threshold: float) -> LayerMask:
    """Raises KeyError or ValueError for what is no mask; what older masks do not hold is None."""
    here = {name.removeprefix(f"{layer}/"): array for name, array in stored.items() if name.rpartition("/")[0] == layer}
    kept, variances, *more = here.pop("kept"), here.pop("variances"), *map(here.get, ("means", "fates", "duplicate_of"))
    if kept.dtype != np.bool_ or any(array is not None and array.shape != kept.shape for array in (variances, *more)):
        raise ValueError(f"what it holds of {layer} is not one value a feature")
    return LayerMask(kept, variances, float(threshold), *more)
