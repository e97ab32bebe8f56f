"""From entries to where their networks are cut."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.backbones.compilation import Network
from trunkline.backbones.resolution import cuts, described, order_of
from trunkline.backbones.weights import RANDOM
from trunkline.probing.cuts import classifier, sensible
from trunkline.probing.entries import Entry
from trunkline.specs import RunSpec

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Laid:
    """An entry laid out.

    Parameters
    ----------
    spec : of a run with all layers that are needed, those of `layers` and the classifier.
    layers : that are compared, in the network's order; `default` is the one a run cuts at.
    classifier : the layer of the network's own classes; None without pre-trained ones.
    own_size : side of the input that the backbone has by default.
    """

    entry: Entry
    spec: RunSpec
    layers: tuple[str, ...]
    default: str
    classifier: str | None
    own_size: int


def found(entry: Entry, spec: RunSpec) -> Network:
    """The network of an entry: its weights are looked for, nothing is built. Raises BackboneError where there is none."""
    backbone, weights = described(entry.backbone, spec.weights)
    return Network(backbone=backbone, weights=weights.path, size=entry.size or backbone.size)


def laid(entry: Entry, spec: RunSpec) -> Laid:
    """Where an entry is cut: at the spec's layers, or where its blocks end. Raises BackboneError for a layer's number out of range."""
    network = found(entry, spec)
    known = cuts(network)
    asked = spec.layers or tuple(sensible(known, entry.pooling))
    place = {layer.name: number for number, layer in enumerate(known.layers)}  # an unknown layer is refused when it is compiled
    layers = tuple(sorted(order_of(entry.spec(spec, asked)).recipe.layers, key=lambda name: place.get(name, len(place))))
    own = classifier(known, IMAGENET_CLASSES) if spec.weights != RANDOM and network.backbone.family != "own" else None
    every = layers if own is None or own in layers else (*layers, own)
    return Laid(entry, entry.spec(spec, every), layers, known.cut, own, network.backbone.size)
