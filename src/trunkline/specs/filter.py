"""The variance filter."""

from __future__ import annotations

from pydantic import Field

from trunkline.specs.base import Spec


class SelectSpec(Spec):
    """The variance filter, over the training split."""

    relative_threshold: float = Field(
        0.05, ge=0.0, description="keep features whose variance exceeds this share of the median variance"
    )
    threshold: float | None = Field(None, ge=0.0, description="keep features whose variance exceeds this value, instead")
