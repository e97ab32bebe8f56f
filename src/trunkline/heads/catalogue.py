"""From a head's spec to the fitted head."""

from __future__ import annotations

from typing import assert_never

from trunkline.heads.forest import fit_forest
from trunkline.heads.protocol import Codes, Features, FittedHead
from trunkline.heads.softmax import fit_softmax
from trunkline.specs import ForestSpec, HeadSpec, SoftmaxSpec


def fit_head(spec: HeadSpec, features: Features, codes: Codes, classes: int, seed: int) -> FittedHead:
    """Fit on (n, kept) float32 features and (n,) class numbers below `classes`."""
    match spec:
        case SoftmaxSpec():
            return fit_softmax(features, codes, classes, spec, seed)
        case ForestSpec():
            return fit_forest(features, codes, classes, spec, seed)
        case _:
            assert_never(spec)
