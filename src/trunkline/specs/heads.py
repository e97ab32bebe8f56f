"""The heads: what is fitted on the features that the filter keeps."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trunkline.specs.base import Spec


class SoftmaxSpec(Spec):
    """Multinomial logistic regression, L2; C chosen by stratified cross-validation on the training split."""

    kind: Literal["softmax"] = "softmax"
    C: tuple[float, ...] = Field(
        (0.0001, 0.001, 0.01, 0.1, 1.0), min_length=1, description="inverse regularisation, candidates"
    )
    folds: int = Field(3, ge=2, le=20, description="cross-validation folds")
    max_iterations: int = Field(300, ge=1, description="L-BFGS iterations a fit")

    @field_validator("C")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < c < math.inf for c in value):
            raise ValueError("every C must be a number above 0")
        return tuple(sorted(value))


class ForestSpec(Spec):
    """Random forest."""

    kind: Literal["forest"] = "forest"
    trees: int = Field(200, ge=1, le=10_000)
    max_depth: int | None = Field(None, ge=1)


HeadSpec = Annotated[SoftmaxSpec | ForestSpec, Field(discriminator="kind")]
