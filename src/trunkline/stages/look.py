"""Look: one image as the network sees it, layer by layer, and what in it speaks for a head's answer; one picture."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from trunkline.backbones import own
from trunkline.backbones.compilation import Order
from trunkline.backbones.resolution import described, order_of
from trunkline.errors import BackboneError, SpecError
from trunkline.exporting.placing import placed, refuse_wrong_place
from trunkline.finetuning.finished import finished_with
from trunkline.heads.opening import OpenHead, fitted_in
from trunkline.locations import Location
from trunkline.looking import drawing, heat
from trunkline.looking.activations import MAX_LAYERS, Activations, activations, default_layers
from trunkline.looking.asked import Asked, asked
from trunkline.looking.drawing import Look, Overlay
from trunkline.looking.explaining import Explanation, explain
from trunkline.looking.one_image import prepared
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features, open_features
from trunkline.specs import Recipe, build_spec
from trunkline.stages.predict import backbone_of, head_of
from trunkline.store.feature_store import FeatureStore

ANY_LAYER = "any"  # stands in an order whose layers are chosen later
STEPS = 3


@dataclass(frozen=True)
class LookReceipt:
    """What was drawn into `out`: layers with (height, width, channels); `answers` are the head's, the most probable first.

    `evidence` is `class activation`, `occlusion`, or '' without a head.
    """

    out: str
    image: str
    row: int | None
    label: str | None
    backbone: str
    layers: Mapping[str, tuple[int, ...]]
    head: str
    answers: Sequence[Mapping[str, Any]]
    evidence: str
    seconds: float


def look(
    image: str,
    out: str = "look.png",
    *,
    backbone: str | None = None,
    weights: str | None = None,
    layers: Sequence[str] = (),
    preparation: Mapping[str, Any] | None = None,
    store: str | None = None,
    dataset: str | None = None,
    head: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> LookReceipt:
    """Draw what a network makes of an image.

    Parameters
    ----------
    image : a path or URL; with a store also an id or `row:N` of its dataset.
    out : a .png file.
    backbone, weights : as in a spec; those of the store's feature set by default.
    layers : up to 8 names or numbers; the ends of the network's stages by default.
    preparation : as in a spec, where there is no store.
    store, dataset : a feature set, or a store that holds one; its recipe prepares the image.
    head : kind or digest of a head fitted on it; where several are fitted, one has to be named.

    Raises
    ------
    SpecError : options that do not go together, or a wrong `out`.
    BackboneError : another backbone than the store's, an unknown layer, or one without a map.
    SourceError, DataError, StoreError : no such image, row, head or feature set; CorruptStore where they are damaged.
    """
    started = time.monotonic()
    if not out.lower().endswith(".png"):
        raise SpecError(f"--out {out} is no .png file, and a look is a PNG picture. Name it look.png, for example.")
    if head is not None and store is None:
        raise SpecError(f"--head {head} is fitted on features of a store. Say which: --store STORE.")
    if len(layers) > MAX_LAYERS:
        raise SpecError(f"{len(layers)} layers do not fit on one picture. Name up to {MAX_LAYERS}.")
    place = Location.of(out)
    features, opened = _store(store, dataset, head)
    refuse_wrong_place([place], Location(features.uri.rsplit("/", 3)[0]) if features else Location("/-"), overwrite)
    meant = asked(image, features)
    order = _order(backbone, weights, layers, preparation, features)
    recipe = features.recipe if features else order.recipe
    progress(Step("look", 0, STEPS))
    pixels = prepared(meant, features.dataset.source if features else None, recipe)
    names = order.recipe.layers if layers else default_layers(order.network, order.recipe.weights)
    progress(Step("look", 1, STEPS, "activation maps"))
    maps = activations(order.network, recipe, names, pixels)
    progress(Step("look", 2, STEPS, "evidence"))
    seen = _explained(features, opened, meant, pixels) if features and opened else None
    picture = drawing.draw(_drawn(meant, pixels, maps, recipe, seen))
    with placed([place]) as (path,):
        path.write_bytes(picture)
    progress(Step("look", STEPS, STEPS))
    return LookReceipt(
        out=place.uri,
        image=meant.name,
        row=meant.row,
        label=meant.label,
        backbone=recipe.backbone,
        layers={each.layer: each.maps.shape for each in maps},
        head=opened.name if opened else "",
        answers=seen.answers if seen else (),
        evidence=seen.method if seen else "",
        seconds=time.monotonic() - started,
    )


def _store(store: str | None, dataset: str | None, head: str | None) -> tuple[Features | None, OpenHead | None]:
    if store is None:
        if dataset is not None:
            raise SpecError(f"--dataset {dataset} is one of a store. Say which: --store STORE.")
        return None, None
    features = open_features(store, dataset=dataset)
    folder = FeatureStore(Location(features.uri.rsplit("/", 3)[0])).beside("heads", features.feature_set)
    if head is None and not fitted_in(folder):
        return features, None
    return head_of(features.uri, head)


def _order(
    backbone: str | None,
    weights: str | None,
    layers: Sequence[str],
    preparation: Mapping[str, Any] | None,
    features: Features | None,
) -> Order:
    """The network that is looked into; of a feature set the one it was extracted with."""
    said: dict[str, Any] = {"source": "-", "store": "-", "layers": tuple(layers) or (ANY_LAYER,)}
    if features is None:
        given = {"backbone": backbone, "weights": weights, "preparation": dict(preparation or {})}
        return order_of(build_spec(said | {name: value for name, value in given.items() if value}, where="The options"))
    if preparation:
        raise SpecError(
            f"--{next(iter(preparation))} is fixed by the features in {features.uri}. Leave it out, or leave out --store."
        )
    recipe = features.recipe
    name = backbone or (_own_file(features) if own.is_own(recipe.backbone) else recipe.backbone)
    if weights is None and not own.is_own(name) and described(name, "random")[1].digest == recipe.weights:
        weights = "random"
    order = order_of(
        build_spec(said | {"backbone": name, "weights": weights, "preparation": {"size": recipe.size}}, where="The options")
    )
    if (order.recipe.backbone, order.recipe.weights) != (recipe.backbone, recipe.weights):
        raise BackboneError(
            f"The features in {features.uri} are of {recipe.backbone} with the weights {recipe.weights}, and this is "
            f"{order.recipe.backbone} with {order.recipe.weights}: its maps would be others. Give that backbone, or leave out --store."
        )
    return order


def _own_file(features: Features) -> str:
    """The file of one's own network that the features are of, where it was fine-tuned in this store."""
    recipe = features.recipe
    place = finished_with(Location(features.uri.rsplit("/", 3)[0]), recipe.weights)
    if place is None:
        raise BackboneError(
            f"The features in {features.uri} are of your own network {recipe.backbone}, whose file the store does not hold. Give it with "
            "--backbone."
        )
    return place.uri


def _explained(features: Features, head: OpenHead, image: Asked, pixels: NDArray[Any]) -> Explanation:
    compiled, runtime = backbone_of(features)
    return explain(compiled, runtime, features.recipe, head, pixels, image.label)


def _drawn(image: Asked, pixels: NDArray[Any], maps: list[Activations], recipe: Recipe, seen: Explanation | None) -> Look:
    known = [f"row {image.row:,}"] if image.row is not None else []
    known += [f"true class {image.label}"] if image.label is not None else []
    known += [seen.said] if seen else []
    known += [recipe.backbone]
    overlays = []
    if seen:
        most = heat.greatest([each.values for each in seen.evidence])
        overlays = [
            Overlay(title, heat.over(pixels, each.values, most)) for title, each in zip(seen.titles, seen.evidence, strict=True)
        ]
    return Look(image.title, " · ".join(known), pixels, overlays, seen.caption if seen else "", maps)
