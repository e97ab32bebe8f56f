"""The variance filter's rules: from the moments of the training images to which features of a layer stay, and why the others go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore, DataError
from trunkline.moments import Moments
from trunkline.specs import SelectSpec

NONE = -1  # as a feature number: no other feature


class Fate(IntEnum):
    """What became of a feature."""

    KEPT = 0
    VARIANCE = 1
    INACTIVE = 2
    DUPLICATE = 3


REASONS = {
    Fate.VARIANCE: "too little variance",
    Fate.INACTIVE: "zero in too many images",
    Fate.DUPLICATE: "correlates with an earlier one",
}


@dataclass(frozen=True)
class LayerMask:
    """Of one layer, over the training images.

    Parameters
    ----------
    kept : (dim,) bool, which features stay.
    variances : (dim,) float64.
    threshold : a variance must exceed it.
    means : (dim,) float64, for drift.
    fates : (dim,) uint8, a `Fate` a feature.
    duplicate_of : (dim,) int32, the number of the earlier feature that one duplicates; −1 elsewhere.

    The last three are None in masks of before they were written down.
    """

    kept: NDArray[np.bool_]
    variances: NDArray[np.float64]
    threshold: float
    means: NDArray[np.float64] | None = None
    fates: NDArray[np.uint8] | None = None
    duplicate_of: NDArray[np.int32] | None = None

    @property
    def dropped(self) -> dict[str, int]:
        """How many features went, by reason in words; empty where the reasons were not written down."""
        if self.fates is None:
            return {}
        counts = {words: int((self.fates == fate).sum()) for fate, words in REASONS.items()}
        return {words: count for words, count in counts.items() if count}

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What there is, by name."""
        named = {name: getattr(self, name) for name in ("kept", "variances", "means", "fates", "duplicate_of")}
        return {name: array for name, array in named.items() if array is not None}


def fit_layer(moments: Moments, spec: SelectSpec, layer: str) -> LayerMask:
    """Keep features that vary and are active enough; duplicates are found later, by `without_duplicates`.

    Raises
    ------
    DataError : fewer than two training images, or nothing would be left.
    CorruptStore : moments are not finite.
    """
    if moments.count < 2:
        raise DataError(
            f"The variance filter needs at least 2 training images, and there are {moments.count}. Check labels and splits."
        )
    variances = moments.variance
    _refuse_not_finite(variances + moments.mean, layer)
    threshold = _threshold(variances, spec)
    active = moments.nonzeros / moments.count > spec.min_active
    varied = variances > threshold
    kept = active & varied
    if not kept.any():
        raise DataError(_nothing_left(variances, varied, threshold, spec, layer))
    fates = np.where(kept, Fate.KEPT, np.where(active, Fate.VARIANCE, Fate.INACTIVE)).astype(np.uint8)
    return LayerMask(kept, variances, threshold, moments.mean, fates, np.full(len(kept), NONE, np.int32))


def _threshold(variances: NDArray[np.float64], spec: SelectSpec) -> float:
    """The variance that must be exceeded. By quantile it is that of the last one to go: features that tie with it go too."""
    if spec.threshold is not None:
        return spec.threshold
    if spec.quantile is None:
        return spec.relative_threshold * float(np.median(variances))
    going = int(spec.quantile * len(variances) + 1e-9)
    return float(np.partition(variances, going - 1)[going - 1]) if going else 0.0


def _refuse_not_finite(values: NDArray[np.float64], layer: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        numbers = ", ".join(map(str, bad[:5])) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise CorruptStore(
            f"The moments of {layer} are not finite in the features {numbers}: committed features are never NaN or infinite, so something "
            "in the store is damaged, and a mask of it would be pinned. `trunkline verify STORE` finds what."
        )


def _nothing_left(
    variances: NDArray[np.float64], varied: NDArray[np.bool_], threshold: float, spec: SelectSpec, layer: str
) -> str:
    if varied.any():
        return (
            f"Of {layer}, {int(varied.sum())} features have a variance above {threshold:g} (the largest is {variances.max():g}), and "
            f"none of them is non-zero in more than {spec.min_active:g} of the training images: nothing would be left. Lower "
            "select.min_active."
        )
    rule = "threshold" if spec.threshold is not None else "relative_threshold" if spec.quantile is None else "quantile"
    return (
        f"No feature of {layer} has a variance above {threshold:g} (the largest is {variances.max():g}): nothing would be left. "
        f"Lower select.{rule}; if all variances are 0, all images look the same to the backbone."
    )


def without_duplicates(mask: LayerMask, duplicate_of: NDArray[np.int32]) -> LayerMask:
    """The mask less the features that duplicate another: (dim,) the other's number, −1 where there is none."""
    twice = duplicate_of != NONE
    fates = None if mask.fates is None else np.where(twice, np.uint8(Fate.DUPLICATE), mask.fates)
    return replace(mask, kept=mask.kept & ~twice, fates=fates, duplicate_of=duplicate_of)
