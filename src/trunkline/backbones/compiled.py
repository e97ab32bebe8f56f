"""The truncated network compiled once into the store, with its golden vectors; workers load it without TensorFlow.

`backbones/<digest>/<files>/` holds the OpenVINO IR, the Keras file of Keras networks and `golden.npz`;
`backbones/<digest>/backbone.json` names them. It is created last: without it the rest does not count.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compilation import Order, in_its_own_process
from trunkline.errors import CorruptStore, StoreError
from trunkline.locations import Location
from trunkline.specs import Recipe, digest_of

KEY = {"backbone", "weights", "layers", "size", "normalisation", "precision", "pooling", "maps", "pixels"}  # of the recipe


@dataclass(frozen=True)
class Compiled:
    """A compiled backbone in the store.

    Parameters
    ----------
    location, files : its files lie in `location/<files>`, a folder named by their digests: two runs that compile at once do not
        touch each other's.
    size, pixels, batch : the network takes (batch, size, size, 3) of this dtype.
    shapes : layer → what a row of its array looks like: (dim,), or (height, width, channels).
    multiply_accumulates : of one image.
    sha256 : of each file.
    """

    location: Location
    files: str
    size: int
    pixels: str
    batch: int
    precision: str
    shapes: dict[str, tuple[int, ...]]
    multiply_accumulates: int
    sha256: dict[str, str]

    @property
    def dims(self) -> dict[str, int]:
        """Layer → features a row."""
        return {layer: math.prod(shape) for layer, shape in self.shapes.items()}

    @property
    def runs_on_tensorflow(self) -> bool:
        """Whether there is a Keras file; of an ONNX network there is none."""
        return "model.keras" in self.sha256

    def file(self, name: str) -> bytes:
        """One of its files. Raises CorruptStore where it is not what was written."""
        place = self.location / f"{self.files}/{name}"
        content = place.read() if place.exists() else b""
        if hashlib.sha256(content).hexdigest() != self.sha256[name]:
            raise CorruptStore(f"{place} is damaged or incomplete. Delete {self.location}, so that it is compiled anew.")
        return content

    def golden(self) -> dict[str, NDArray[np.float32]]:
        """Layer → (n, dim) float32: what the reference computed on the golden pixels."""
        with np.load(io.BytesIO(self.file("golden.npz")), allow_pickle=False) as file:
            return {layer: file[layer] for layer in self.shapes}


def compiled(store: Location, order: Order) -> Compiled:
    """The compiled backbone of a recipe: from the store, else compiled into it. Raises BackboneError for an unknown layer."""
    location = _place(store, order.recipe, order.batch)
    if not (location / "backbone.json").exists():
        _compile(location, order)
    return _load(location, order.recipe)


def committed_backbone(store: Location, recipe: Recipe, batch: str | None) -> Compiled:
    """The backbone that features were committed with, in the commit's batch, else in the one that is there.

    Raises StoreError where none is in the store.
    """
    places = [_place(store, recipe, asked) for asked in (int(batch) if batch else None, None)]
    found = [_load(place, recipe) for place in places if (place / "backbone.json").exists()]
    if found:
        return next((each for each in found if str(each.batch) == batch), found[0])
    raise StoreError(
        f"{store} does not hold the compiled backbone of the recipe {recipe.digest()} any more. Run `trunkline extract` with the same "
        "spec: it is compiled again, and nothing is extracted twice."
    )


def _place(store: Location, recipe: Recipe, batch: int | None) -> Location:
    key = recipe.model_dump(include=KEY) | {"batch": batch}
    if recipe.precision == "bf16":
        key["precision"] = "f32"  # the same files, executed otherwise
    return store / f"backbones/{digest_of(key)}"


def _load(location: Location, recipe: Recipe) -> Compiled:
    try:
        said = json.loads((location / "backbone.json").read())
        said["shapes"] = {layer: tuple(shape) for layer, shape in said["shapes"].items()}
        said["precision"] = recipe.precision
        return Compiled(location, **{name: said[name] for name in Compiled.__dataclass_fields__ if name != "location"})
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStore(f"{location}/backbone.json is damaged. Delete {location}, so that it is compiled anew.") from error


def _compile(location: Location, order: Order) -> None:
    recipe = order.recipe
    with tempfile.TemporaryDirectory() as folder:
        said = in_its_own_process("compile", order, Path(folder))
        contents = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.name != "said.json"}
    said |= {"backbone": recipe.backbone, "size": recipe.size, "pixels": recipe.pixels}
    said["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    said["files"] = digest_of(said["sha256"])
    for name, content in contents.items():
        (location / f"{said['files']}/{name}").write(content)
    with contextlib.suppress(FileExistsError):  # another run compiled it at the same time; its backbone holds
        (location / "backbone.json").create(json.dumps(said, indent=2).encode())
