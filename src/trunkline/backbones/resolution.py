"""From what a spec says to the network and the recipe it means."""

from __future__ import annotations

import re
import tempfile
import time
from functools import cache, lru_cache
from pathlib import Path

from trunkline.backbones import onnx_network, own
from trunkline.backbones.backbone import Backbone
from trunkline.backbones.catalogue import find
from trunkline.backbones.compilation import Cuts, Network, Order, in_its_own_process
from trunkline.backbones.weights import Weights, cache_folder, locate
from trunkline.errors import BackboneError
from trunkline.images import DECODER, KERAS_DECODER
from trunkline.locations import Location
from trunkline.specs import Preparation, Recipe, RunSpec

SECONDS_KEPT = 600
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
    _refuse_what_cannot_run(spec, network)
    names = tuple(_name(network, layer) for layer in spec.layers) or (_safe(network, backbone.cut or cuts(network).cut),)
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
        dtype=spec.storage.dtype,
        pooling=spec.pooling,
        maps=spec.maps,
        **_pixels(spec.preparation),
    )
    return Order(network=network, recipe=recipe, batch=spec.engine.batch)


def described(name: str, weights: str | None) -> tuple[Backbone, Weights]:
    """A backbone of the catalogue or of a user's file, and where its weights are."""
    if own.is_own(name) and weights is not None:
        raise BackboneError(f"{name} holds its own weights, and weights {weights!r} were given too; leave them out.")
    remote = not Location.of(name if own.is_own(name) else weights or "/").is_local
    return _remote(name, weights, int(time.monotonic() // SECONDS_KEPT)) if remote else _described(name, weights)


@lru_cache(maxsize=8)
def _remote(name: str, weights: str | None, _period: int) -> tuple[Backbone, Weights]:
    """Every stage of a run asks: what lies at a URL is fetched once in a while, not each time."""
    return _described(name, weights)


def _described(name: str, weights: str | None) -> tuple[Backbone, Weights]:
    if not own.is_own(name):
        backbone = find(name)
        return backbone, locate(backbone, weights)
    backbone = own.describe(name)
    path = own.fetch(name, cache_folder("own"))
    return backbone, Weights(own.digest(path), path, name)


def _refuse_what_cannot_run(spec: RunSpec, network: Network) -> None:
    if network.onnx and (spec.runtime == "tensorflow" or spec.precision == "mixed_float16"):
        raise BackboneError(
            f"{network.backbone.name} is an ONNX network, which runs on openvino only: use precision f32 or bf16, and leave runtime out."
        )
    if network.backbone.family == "own" and spec.precision == "mixed_float16":
        raise BackboneError(
            f"The layers of {network.backbone.name} carry the precision they were saved with, so mixed_float16 would change nothing. Save "
            "the network with Keras's mixed_float16 policy, and use precision f32 here."
        )


@cache
def cuts(network: Network) -> Cuts:
    """Where a network can be cut. Raises BackboneError where it cannot be built."""
    with tempfile.TemporaryDirectory() as folder:
        return Cuts.of(in_its_own_process("layers", network, Path(folder)))


def _name(network: Network, layer: str) -> str:
    """A layer by its name, or by its number, which counts from 0, or from the end where it is negative. A name goes before a number."""
    if re.fullmatch(r"-?\d{1,9}", layer) and layer not in (each.name for each in cuts(network).layers):
        return _safe(network, _numbered(network, int(layer)))
    return _safe(network, layer)


def _safe(network: Network, layer: str) -> str:
    """The name, which becomes that of its array."""
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
