"""Which fold holds a training row out: stratified by class, the same for the same seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.targets import Target, Truth

FEWEST = 2


def folds_of(target: Target, truth: Truth, folds: int, seed: int) -> NDArray[np.int8]:
    """(n,) int8 below `folds`: each class is dealt out evenly, and so is the whole; numbers are dealt out in order of their size.

    A class with fewer images than folds is missing in some of them.
    """
    order = np.random.default_rng(seed).permutation(len(truth))
    if target.kind == "classes":
        order = order[np.argsort(truth[order], kind="stable")]
    elif target.kind == "regression":
        order = order[np.argsort(truth[order].reshape(len(order)), kind="stable")]
    else:
        rarest = np.where(truth > 0, truth.sum(axis=0), np.inf).argmin(axis=1)
        order = order[np.argsort(rarest[order], kind="stable")]
    out = np.empty(len(truth), np.int8)
    if target.kind == "regression":  # within each run of neighbours in size, folds come in random order
        random = np.random.default_rng(seed + 1)
        runs = random.permuted(np.tile(np.arange(folds), (-(-len(truth) // folds), 1)), axis=1).ravel()
        out[order] = runs[: len(truth)]
    else:
        out[order] = np.arange(len(truth)) % folds
    return out


def usable_folds(target: Target, truth: Truth, wanted: int) -> int:
    """`wanted`, or as many as leave each fold something to learn from: below 2 there is nothing to cross-validate.

    A class with a single image cannot be held out and learned at once; such classes do not limit the others.
    """
    if target.kind != "classes":
        return min(wanted, len(truth))
    counts = np.bincount(truth, minlength=target.outputs)
    return min(wanted, int(counts.max(initial=0)), len(truth)) if (counts >= FEWEST).any() else 1
