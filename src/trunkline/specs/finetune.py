"""How a backbone is fine-tuned: a new head first, then the last layers; what is trained on is said by the run's spec."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from trunkline.specs.base import Name, Spec


class AugmentationSpec(Spec):
    """What training images go through, anew in every epoch; validation and test images never."""

    flip: bool = Field(True, description="mirror every other image left to right")
    crop: float = Field(
        0.7, gt=0.0, le=1.0, description="smallest share of an image's area that is cut out and enlarged; 1 switches it off"
    )
    colour: float = Field(
        0.2, ge=0.0, lt=1.0, description="brightness, contrast and saturation change by up to this share; 0 switches it off"
    )
    mixup: float = Field(
        0.0, ge=0.0, le=1.0, description="alpha of mixup, which blends pairs of images and their labels; 0 switches it off"
    )


class FinetuneSpec(Spec):
    """How to fine-tune. Phase 1 trains a new head on the frozen backbone, phase 2 the head and the last layers."""

    name: Name | None = Field(
        None, description="of the result in the store; made from backbone, dataset and settings by default"
    )
    widths: tuple[int, ...] = Field((), description="hidden layers of the new head, such as 32, 16, 8; none by default")
    dropout: float = Field(0.2, ge=0.0, lt=1.0, description="share of features that each training step leaves out")
    unfreeze: str = Field(
        "0.75",
        description="what phase 2 trains: the last N layers as `trunkline backbones NAME` numbers them, a share of them such as 0.5, "
        "a layer or block by name (from there to the cut), or all",
    )
    head_rate: float = Field(1e-3, gt=0.0, allow_inf_nan=False, description="learning rate of phase 1")
    head_epochs: int = Field(20, ge=1, description="epochs of phase 1 at most; its images go through the backbone once")
    rate: float = Field(
        2e-4,
        gt=0.0,
        allow_inf_nan=False,
        description="highest learning rate of phase 2; it rises for an epoch, then falls to 0",
    )
    epochs: int = Field(10, ge=1, description="epochs of phase 2 at most")
    batch: int = Field(32, ge=2, le=1024, description="images a training step")
    patience: int = Field(4, ge=1, description="stop a phase after so many epochs without a better validation macro-F1")
    val_fraction: float = Field(
        0.1, gt=0.0, le=0.5, description="share of each class's training images to stop by, where the dataset has no val split"
    )
    class_weight: Literal["balanced", "none"] = Field("none", description="balanced: rare classes weigh as much as common ones")
    augmentation: AugmentationSpec = AugmentationSpec()
    precision: Literal["auto", "float32", "mixed_float16"] = Field(
        "auto", description="of training; auto: mixed_float16 where there is a GPU; the result is float32 always"
    )
    seed: int = Field(
        0, ge=0, description="of the split by hash, the head's first weights, the order of images and augmentation"
    )

    @field_validator("widths")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= width <= 65_536 for width in value) or len(value) > 8:
            raise ValueError("must be up to 8 widths from 1 to 65536")
        return value

    @field_validator("unfreeze", mode="before")
    @classmethod
    def _number_or_name(cls, value: Any) -> Any:
        """YAML gives numbers as numbers."""
        text = str(value).strip() if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
        if re.fullmatch(r"-?\d+", text) and int(text) < 1:
            raise ValueError("must unfreeze at least one layer")
        if re.fullmatch(r"-?\d*\.\d*(e-?\d+)?", text) and not 0 < float(text) <= 1:
            raise ValueError("as a share of the layers must be above 0 and at most 1.0")
        if not text:
            raise ValueError("must be a number of layers, a share of them such as 0.5, a layer's or block's name, or all")
        return text
