"""The variance filter."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from trunkline.specs.base import Spec
from trunkline.specs.form import given, when

RELATIVE_THRESHOLD = 0.05


class SelectSpec(Spec):
    """The variance filter, over the training split.

    One of `relative_threshold`, `threshold` and `quantile` decides how much variance is enough; `min_active` and `duplicates` go with each.
    """

    RULES: ClassVar = (
        when(given("threshold", "number"), quantile={"type": "null"}, relative_threshold={"enum": [RELATIVE_THRESHOLD]}),
        when(given("quantile", "number"), relative_threshold={"enum": [RELATIVE_THRESHOLD]}),
    )

    relative_threshold: float = Field(
        RELATIVE_THRESHOLD,
        ge=0.0,
        allow_inf_nan=False,
        description="keep features whose variance exceeds this share of the median variance",
    )
    threshold: float | None = Field(
        None, ge=0.0, allow_inf_nan=False, description="keep features whose variance exceeds this value, instead"
    )
    quantile: float | None = Field(
        None,
        ge=0.0,
        lt=1.0,
        allow_inf_nan=False,
        description="drop this share of the features, those of least variance, instead",
    )
    min_active: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        allow_inf_nan=False,
        description="keep features that are not zero in more than this share of the training images",
    )
    duplicates: float | None = Field(
        None,
        gt=0.0,
        le=1.0,
        allow_inf_nan=False,
        description="drop features whose correlation with an earlier one that is kept is at least this, plus or minus",
    )

    @model_validator(mode="after")
    def _one_rule(self) -> SelectSpec:
        rules = {
            "threshold": self.threshold is not None,
            "quantile": self.quantile is not None,
            "relative_threshold": self.relative_threshold != RELATIVE_THRESHOLD,
        }
        given = [name for name, is_given in rules.items() if is_given]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} both say how much variance is enough; give one of threshold, quantile and relative_threshold"
            )
        return self
