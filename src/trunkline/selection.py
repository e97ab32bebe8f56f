"""The variance filter: from moments to a mask, an artifact that is pinned until somebody asks to refit it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore, DataError
from trunkline.locations import Location
from trunkline.moments import Moments
from trunkline.specs import SelectSpec


@dataclass(frozen=True)
class LayerMask:
    """Of one layer: which columns stay, (dim,) bool; variances over the training rows, (dim,) float64; and the threshold."""

    kept: NDArray[np.bool_]
    variances: NDArray[np.float64]
    threshold: float


@dataclass(frozen=True)
class Mask:
    """Which features survive, layer by layer; `rows` training rows decided it."""

    location: Location
    rows: int
    layers: Mapping[str, LayerMask]

    @property
    def digest(self) -> str:
        """SHA-256 of which columns stay, layer by layer, 16 hex digits."""
        content = hashlib.sha256()
        for layer, mask in self.layers.items():
            content.update(layer.encode() + b"\0" + mask.kept.tobytes())
        return content.hexdigest()[:16]


def fit_layer(moments: Moments, spec: SelectSpec, layer: str) -> LayerMask:
    """Keep features whose variance exceeds the threshold: absolute, or a share of the median variance.

    Raises
    ------
    DataError : no training row, or nothing would be left.
    """
    if moments.count < 2:
        raise DataError(
            f"The variance filter needs at least 2 training images, and there are {moments.count}. Check labels and splits."
        )
    variances = moments.variance
    threshold = spec.threshold if spec.threshold is not None else spec.relative_threshold * float(np.median(variances))
    kept = variances > threshold
    if not kept.any():
        raise DataError(
            f"No feature of {layer} has a variance above {threshold:g} (the largest is {variances.max():g}): nothing would be left. "
            "Lower select.threshold; if all variances are 0, all images look the same to the backbone."
        )
    return LayerMask(kept, variances, threshold)


def load_latest(folder: Location) -> Mask | None:
    """The pinned mask under this rule: the one with the highest number."""
    names = [name for name in folder.names() if name.startswith("mask-")]
    return load(folder / names[-1]) if names else None


def create(folder: Location, rows: int, layers: Mapping[str, LayerMask]) -> Mask:
    """Write the next mask; where another run wrote it first, that one holds."""
    names = [name for name in folder.names() if name.startswith("mask-")]
    number = 1 + int(names[-1].removeprefix("mask-").removesuffix(".npz")) if names else 0
    location = folder / f"mask-{number:06d}.npz"
    out = io.BytesIO()
    arrays = {f"{layer}/{name}": getattr(mask, name) for layer, mask in layers.items() for name in ("kept", "variances")}
    said = json.dumps({"rows": rows, "thresholds": {layer: mask.threshold for layer, mask in layers.items()}})
    np.savez(out, allow_pickle=False, said=np.array(said), **arrays)
    try:
        location.create(out.getvalue())
    except FileExistsError:
        return load(location)
    return Mask(location, rows, layers)


def load(location: Location) -> Mask:
    """Raises CorruptStore for a damaged mask."""
    content = location.read()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            said = json.loads(str(file["said"]))
            layers = {
                layer: LayerMask(file[f"{layer}/kept"], file[f"{layer}/variances"], threshold)
                for layer, threshold in said["thresholds"].items()
            }
            return Mask(location, int(said["rows"]), layers)
    except Exception as error:
        raise CorruptStore(
            f"The mask {location} is damaged ({error}). Delete it: it is fitted anew from the moments."
        ) from error
