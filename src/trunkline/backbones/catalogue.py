"""The backbones by name."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.backbones import classic, efficientnet_lite, keras_zoo
from trunkline.backbones.backbone import Backbone
from trunkline.errors import BackboneError, did_you_mean

BACKBONES: Mapping[str, Backbone] = {
    backbone.name: backbone for family in (efficientnet_lite, keras_zoo, classic) for backbone in family.BACKBONES
}


def find(name: str) -> Backbone:
    """The backbone of that name. Raises BackboneError with the near ones."""
    try:
        return BACKBONES[name]
    except KeyError:
        near = did_you_mean(name.lower(), BACKBONES)
        raise BackboneError(
            f"There is no backbone {name!r}.{near} `trunkline backbones` lists all {len(BACKBONES)}; a file of your own ends in "
            ".onnx, .keras or .h5."
        ) from None
