"""A backbone whose features are a hash of the image's bytes, and images that are never decoded: what is left is the store's own work."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trunkline import images, runtimes
from trunkline.backbones.compiled import Compiled
from trunkline.errors import UnreadableImage
from trunkline.locations import Location
from trunkline.maintenance import derived_check, repair, retry
from trunkline.stages import extract
from trunkline.store import commits, hdf5

LAYERS = {"wide": (8,), "narrow": (3,)}
SIZE, BATCH = 4, 8
NO_IMAGE, NO_NUMBER = b"bad", b"inf"  # how contents begin that cannot be decoded, or whose features are not finite
BAD_REASON = "corrupt"

passes: Counter[bytes] = Counter()  # forward passes by pixels


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    raw = hashlib.shake_256(content).digest(SIZE * SIZE * 3)
    marked = b"\xff" * 8 + raw[8:] if content.startswith(NO_NUMBER) else raw
    return np.frombuffer(marked, np.uint8).reshape(SIZE, SIZE, 3)


def features_of(content: bytes) -> dict[str, NDArray[np.float32]]:
    """Layer → (dim,), a pure function of the bytes."""
    return _features(pixels_of(content))


def _features(pixels: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    raw = pixels.tobytes()
    found = {}
    for layer, (dim,) in LAYERS.items():
        words = np.frombuffer(hashlib.shake_256(layer.encode() + raw).digest(2 * dim), np.uint16)
        found[layer] = words.astype(np.float32) / np.float32(7)
    if raw.startswith(b"\xff" * 8):
        found["narrow"][1] = np.inf
    return found


def _load(content: bytes, recipe: object) -> NDArray[np.uint8]:  # noqa: ARG001
    if content.startswith(NO_IMAGE):
        raise UnreadableImage(BAD_REASON, "it begins so")
    return pixels_of(content)


def _load_each(content: bytes, recipes: Sequence[object]) -> list[NDArray[np.uint8] | UnreadableImage]:
    try:
        return [_load(content, recipe) for recipe in recipes]
    except UnreadableImage as error:
        return [error] * len(recipes)


class _Runtime:
    def run(self, pixels: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        out = {layer: np.zeros((len(pixels), dim), np.float32) for layer, (dim,) in LAYERS.items()}
        for number, each in enumerate(pixels):
            if each.any():  # the last batch is padded with zeros
                passes[each.tobytes()] += 1
                for layer, values in _features(each).items():
                    out[layer][number] = values
        return out

    def fingerprint(self) -> dict[str, str]:
        return {"runtime": "stub"}


def _backbone(root: Location, *_: object) -> Compiled:
    return Compiled(root / "backbones/stub", "files", SIZE, "uint8", BATCH, "f32", LAYERS, 1, {})


def install(patch: pytest.MonkeyPatch) -> None:
    """Put the stubs in place of decoder, backbone and runtime; seal and merge from a few objects on."""
    patch.setattr(images, "load", _load)
    patch.setattr(images, "load_each", _load_each)
    patch.setattr(images, "decoded_bytes", lambda *_: 0)
    patch.setattr(runtimes, "load", lambda *_: _Runtime())
    patch.setattr(runtimes, "load_each", lambda wanted, _: [_Runtime() for _ in wanted])
    patch.setattr(runtimes, "refuse_what_cannot_run", lambda *_: None)
    patch.setattr(extract, "compiled", _backbone)
    for module in (derived_check, repair, retry):
        patch.setattr(module, "committed_backbone", _backbone)
    patch.setattr(commits, "MIN_SEALED", 2)
    patch.setattr(commits, "SEALED_AT_ONCE", 3)
    patch.setattr(hdf5, "MAX_FILES", 4)
