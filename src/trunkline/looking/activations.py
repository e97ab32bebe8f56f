"""The activation maps of chosen layers: the network cut there without pooling, compiled once and kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.backbone import Layer
from trunkline.backbones.compilation import Network, Order, in_its_own_process
from trunkline.backbones.compiled import KEY, Compiled
from trunkline.backbones.golden import check, golden_pixels, in_batches
from trunkline.backbones.resolution import cuts
from trunkline.errors import BackboneError, StorageError
from trunkline.locations import Location
from trunkline.specs import Recipe, digest_of

PADDING = {"ZeroPadding2D", "Cropping2D", "Pad"}
LEAST_SIDE = 2  # a map of one pixel shows nothing
MAX_LAYERS = 8  # that fit on one picture


@dataclass(frozen=True)
class Activations:
    """What a layer makes of one image: (height, width, channels) float32."""

    layer: str
    maps: NDArray[np.float32]


def cache() -> Path:
    """Where networks compiled for looking are kept; deleting it costs a compilation."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "trunkline" / "looks"


def stage_ends(layers: Sequence[Layer], size: int) -> list[str]:
    """A handful of layers over the depth: the last one before each halving of the map's side.

    Raises
    ------
    BackboneError : no layer gives a map.
    """
    ends: dict[int, str] = {}
    for layer in layers:
        sides = layer.shape[:-1]
        if layer.kind in PADDING or len(sides) != 2 or any(side is None or side < LEAST_SIDE for side in sides):
            continue
        side = max(side or 1 for side in sides)
        ends[round(np.log2(size / side))] = layer.name
    if not ends:
        raise BackboneError("No layer of this network gives a map of (height, width, channels), so there is nothing to draw.")
    return [ends[halvings] for halvings in sorted(ends)][-MAX_LAYERS:]


def default_layers(network: Network, weights: str) -> list[str]:
    """The ends of a network's stages, found once: building the network takes seconds. `weights` is their digest."""
    place = cache() / f"layers-{digest_of([network.backbone.name, weights, network.size])}.json"
    with contextlib.suppress(OSError, ValueError):
        return [str(each) for each in json.loads(place.read_text())]
    found = stage_ends(cuts(network).layers, network.size)
    Location.of(place).write(json.dumps(found).encode())
    return found


def activations(network: Network, recipe: Recipe, layers: Sequence[str], pixels: NDArray[Any]) -> list[Activations]:
    """The maps of one prepared image.

    Parameters
    ----------
    network, recipe : the backbone, and how its images are prepared.
    layers : names, each of a layer that gives a map.
    pixels : (size, size, 3) of the recipe's dtype.

    Raises
    ------
    BackboneError : no such layer, or one that gives no map.
    """
    from trunkline.runtimes.openvino import OpenVinoRuntime

    wanted = {"layers": tuple(layers), "pooling": "none", "maps": "kept", "precision": "f32", "dtype": "float32"}
    compiled = _compiled(Order(network=network, recipe=recipe.model_copy(update=wanted), batch=1))
    for layer, shape in compiled.shapes.items():
        if len(shape) != 3:
            said = f"{shape[0]:,} numbers" if len(shape) == 1 else f"{shape[0]:,} tokens of {shape[-1]:,} numbers"
            raise BackboneError(
                f"The layer {layer} of {recipe.backbone} gives {said} and no map of (height, width, channels), so there is nothing to "
                f"draw. `trunkline backbones {recipe.backbone}` lists the layers with their shapes."
            )
    found = OpenVinoRuntime(compiled, len(os.sched_getaffinity(0))).run(pixels[None])
    return [Activations(layer, found[layer].reshape(shape)) for layer, shape in compiled.shapes.items()]


def _compiled(order: Order) -> Compiled:
    """From the cache, else compiled into it and compared with its reference."""
    place = cache() / digest_of(order.recipe.model_dump(include=KEY))
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return _opened(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            return _compile(order, Path(folder), place)
    except OSError as error:
        raise StorageError(
            f"The network cut at {', '.join(order.recipe.layers)} cannot be kept in {place.parent} ({error.strerror or error}). Free some "
            "space, or name another folder with XDG_CACHE_HOME."
        ) from error


def _compile(order: Order, folder: Path, place: Path) -> Compiled:
    from trunkline.runtimes.openvino import OpenVinoRuntime

    said = in_its_own_process("compile", order, folder)
    with np.load(folder / "golden.npz", allow_pickle=False) as file:
        golden = {layer: file[layer] for layer in said["shapes"]}
    for path in folder.iterdir():
        if path.name not in ("model.xml", "model.bin"):
            path.unlink()  # golden maps are many times the network
    sha256 = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    recipe = order.recipe
    said |= {"size": recipe.size, "pixels": recipe.pixels, "precision": recipe.precision, "sha256": sha256}
    (folder / "backbone.json").write_text(json.dumps(said))
    pixels = golden_pixels(recipe.size, said["batch"]).astype(recipe.pixels)
    runtime = OpenVinoRuntime(_opened(folder), len(os.sched_getaffinity(0)))
    check(in_batches(runtime.run, pixels, said["batch"]), golden, f"{recipe.backbone} at {', '.join(recipe.layers)}")
    made = folder / "made"
    made.mkdir()
    for path in list(folder.iterdir()):
        if path != made:
            path.rename(made / path.name)
    if place.exists():
        shutil.rmtree(place)  # damaged, or another one was as fast
    made.rename(place)
    return _opened(place)


def _opened(place: Path) -> Compiled:
    """Raises OSError where there is none, ValueError, KeyError or TypeError where it is damaged."""
    said = json.loads((place / "backbone.json").read_text())
    said["shapes"] = {layer: tuple(shape) for layer, shape in said["shapes"].items()}
    if any(hashlib.sha256((place / name).read_bytes()).hexdigest() != digest for name, digest in said["sha256"].items()):
        raise ValueError(f"{place} is damaged")
    return Compiled(Location.of(place.parent), place.name, **{name: said[name] for name in SAID})


SAID = ("size", "pixels", "batch", "precision", "shapes", "multiply_accumulates", "sha256")
