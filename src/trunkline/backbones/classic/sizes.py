"""Which image sizes a network takes, said before anything is built."""

from __future__ import annotations

from trunkline.backbones.backbone import Backbone
from trunkline.errors import BackboneError


def only_native(backbone: Backbone, size: int) -> None:
    """Raises BackboneError unless `size` is the network's own: its fully connected layers have a weight for each pixel of a map."""
    if size != backbone.size:
        raise BackboneError(
            f"{backbone.name} takes images of {backbone.size} x {backbone.size} pixels, and {size} x {size} was asked for. Its fully "
            "connected layers have a weight for each pixel of the last feature map, so another size does not fit. Leave the size "
            "out, or take a network that averages its last map, such as googlenet."
        )


def at_least(backbone: Backbone, size: int, least: int) -> None:
    """Raises BackboneError where `size` is so small that nothing is left to pool."""
    if size < least:
        raise BackboneError(
            f"{backbone.name} takes images from {least} x {least} pixels on, and {size} x {size} was asked for. It halves them five "
            f"times, and nothing would be left. Ask for a larger size; its own is {backbone.size}."
        )
