"""From what a spec says to the network and the recipe it means."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path

from trunkline.backbones import onnx_network, own
from trunkline.backbones.backbone import Backbone
from trunkline.backbones.catalogue import find
from trunkline.backbones.compilation import Cuts, Network, Order, in_its_own_process
from trunkline.backbones.weights import Weights, cache_folder, locate
from trunkline.errors import BackboneError
from trunkline.images import DECODER, KERAS_DECODER
from trunkline.specs import Preparation, Recipe, RunSpec

ARRAY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def resolve(spec: RunSpec) -> Recipe:
    """The recipe of a spec. Raises BackboneError for an unknown backbone, or weights that are not here."""
    return order_of(spec).recipe


def order_of(spec: RunSpec) -> Order:
    """The network and recipe of a spec.

    Raises
    ------
    BackboneError : an unknown backbone, weights that are not here, or a layer's number out of range; unknown names are found when
        it is compiled.
    """
    backbone, weights = described(spec.backbone, spec.weights)
    network = Network(backbone=backbone, weights=weights.path, size=spec.preparation.size or backbone.size)
    names = tuple(_name(network, layer) for layer in spec.layers or (backbone.cut or cuts(network).cut,))
    if len(set(names)) != len(names):
        raise BackboneError(
            f"The layers {', '.join(spec.layers)} of {backbone.name} name the same one twice: {', '.join(names)}."
        )
    recipe = Recipe(
        backbone=backbone.name,
        weights=weights.digest,
        layers=names,
        size=network.size,
        normalisation=str(backbone.normalisation),
        precision=spec.precision,
        dtype="float32",
        pooling=spec.pooling,
        maps=spec.maps,
        **_pixels(spec.preparation),
    )
    return Order(network=network, recipe=recipe, batch=spec.engine.batch)


def described(name: str, weights: str | None) -> tuple[Backbone, Weights]:
    """A backbone of the catalogue or of a user's file, and where its weights are."""
    if not own.is_own(name):
        backbone = find(name)
        return backbone, locate(backbone, weights)
    if weights is not None:
        raise BackboneError(f"{name} holds its own weights, and weights {weights!r} were given too; leave them out.")
    backbone = own.describe(name)
    path = own.fetch(name, cache_folder("own"))
    return backbone, Weights(own.digest(path), path, name)


@cache
def cuts(network: Network) -> Cuts:
    """Where a network can be cut. Raises BackboneError where it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        return Cuts.of(in_its_own_process("layers", network, Path(folder)))


def _name(network: Network, layer: str) -> str:
    """A layer's name, which becomes its array's; its number counts from 0, or from the end where it is negative."""
    if re.fullmatch(r"-?\d{1,9}", layer):
        name = _numbered(network, int(layer))
    else:
        name = onnx_network.safe_name(layer) if network.onnx else layer
    if not ARRAY_NAME.fullmatch(name):
        raise BackboneError(
            f"The layer {name!r} of {network.backbone.name} cannot name an array: that takes letters, digits and '._-', and no leading "
            "'.' or '-'. Rename the layer in the network."
        )
    return name


def _numbered(network: Network, number: int) -> str:
    names = [each.name for each in cuts(network).layers]
    if not -len(names) <= number < len(names):
        raise BackboneError(
            f"{network.backbone.name} has {len(names)} layers, numbered 0 to {len(names) - 1} or -{len(names)} to -1; there is no "
            f"{number}. `trunkline backbones {network.backbone.name}` lists them."
        )
    return names[number]


def _pixels(preparation: Preparation) -> dict[str, object]:
    """How an image becomes pixels, as fields of a recipe."""
    if preparation.preset == "keras":
        return {"fit": "stretch", "kernel": "bilinear", "exif": "ignored", "decoder": KERAS_DECODER, "pixels": "float32"}
    said = preparation.model_dump(include={"fit", "kernel", "antialias", "exif", "decode"})
    return {**said, "decoder": DECODER}
