"""Reading a Keras weights file into a built network, without running what the file says: HDF5 arrays only.

Two layouts are read, told apart by content: that of Keras 3 (`.weights.h5`), and the older one, in which all weights of Keras
Applications are published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trunkline.errors import BackboneError


class _Pair(NamedTuple):
    """A layer of the network, and what the file has for it: its name there, and its arrays in the layer's order."""

    layer: Any
    saved_as: str
    arrays: list[Any]

    @property
    def variables(self) -> list[Any]:
        found: list[Any] = self.layer.trainable_weights + self.layer.non_trainable_weights
        return found


def load_keras_file(model: Any, path: Path, *, name: str, published: str | None = None, spare: int = 0) -> None:
    """Fill a built network.

    Parameters
    ----------
    model : keras.Model of one input.
    path : what `save_weights` writes, `.weights.h5` or the older .h5; of a whole network saved as .h5 the weights are read.
    name : of the network, for messages.
    published : where its weights are published, for messages; None where nowhere.
    spare : so many layers may follow in the file, as those of a top that the model lacks.

    Raises
    ------
    BackboneError : it is damaged, or not of this network; every shape is compared before the first value is set.
    """
    import h5py

    right = f"the file {published}, or one" if published else "one"
    try:
        with h5py.File(path, "r") as file:
            pairs, beyond = _keras3_pairs(model, file) if "layers" in file else _older_pairs(model, file)
            wrong = _first_difference(pairs)
            if wrong is None and len(beyond) not in (0, spare):
                wrong = f"it holds {len(beyond)} layers more than the network, from {beyond[0]!r} on."
            if wrong is not None:
                raise BackboneError(
                    f"{path} is not a weights file of {name}: {wrong} Nothing was loaded. Give it {right} that save_weights of this "
                    "network wrote."
                )
            for pair in pairs:
                _set(pair, path)
    except BackboneError:
        raise
    except Exception as error:
        raise BackboneError(
            f"{path} is not a Keras weights file (HDF5), or is damaged ({error}). Give {name} {right} that save_weights of this network "
            "wrote."
        ) from error


def _older_pairs(model: Any, file: Any) -> tuple[list[_Pair], list[str]]:
    """By order, as Keras does: automatic names in older files count differently. Also the file's layers beyond the network's."""
    group = file.get("model_weights", file)
    saved = [(name, _names(group[name], "weight_names")) for name in _names(group, "layer_names")]
    saved = [(name, arrays) for name, arrays in saved if arrays]
    if not saved:
        raise ValueError("it lists no layers with weights")
    layers = [layer for layer in model.layers if layer.weights]
    pairs = [
        _Pair(layer, name, [_own(file, group[name][array]) for array in arrays])
        for layer, (name, arrays) in zip(layers, saved, strict=False)
    ]
    pairs += [_Pair(layer, "", []) for layer in layers[len(saved) :]]
    return pairs, [name for name, _ in saved[len(layers) :]]


def _names(group: Any, attribute: str) -> list[str]:
    """An attribute of names, which Keras splits where it is long: `layer_names`, or `layer_names0`, `layer_names1`, …"""
    parts, number = [attribute] if attribute in group.attrs else [], 0
    while f"{attribute}{number}" in group.attrs:
        parts.append(f"{attribute}{number}")
        number += 1
    return [each.decode() if isinstance(each, bytes) else str(each) for part in parts for each in group.attrs[part]]


def _keras3_pairs(model: Any, file: Any) -> tuple[list[_Pair], list[str]]:
    """By the path that Keras 3 makes of classes and order: `layers/conv2d_3/vars/0`. Also the file's paths beyond the network's."""
    found = []
    for path, layer in _keras3_paths(model, "layers"):
        arrays = file.get(f"{path}/vars", {})
        found.append(_Pair(layer, path, [_own(file, arrays[number]) for number in sorted(arrays, key=int)]))
    used, beyond = {f"{pair.saved_as}/vars" for pair in found}, []

    def note(path: str, item: Any) -> None:
        if path.endswith("/vars") and len(item) and path not in used:
            beyond.append(path.removesuffix("/vars"))

    file.visititems(note)
    return [pair for pair in found if pair.variables or pair.arrays], beyond


def _keras3_paths(model: Any, folder: str) -> Iterator[tuple[str, Any]]:
    counts: dict[str, int] = {}
    for layer in model.layers:
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()
        number = counts[kind] = counts.get(kind, -1) + 1
        path = f"{folder}/{kind}_{number}" if number else f"{folder}/{kind}"
        if hasattr(layer, "layers"):
            yield from _keras3_paths(layer, f"{path}/layers")
        else:
            yield path, layer


def _own(file: Any, array: Any) -> Any:
    """An array of this file. Raises BackboneError for one that leads to another, which would be read along."""
    if array.file.filename != file.filename or array.is_virtual or array.external:
        raise BackboneError(f"{file.filename} leads to another file at {array.name}, which weights never need. It is refused.")
    return array


def _first_difference(pairs: list[_Pair]) -> str | None:
    """The first layer for which the file holds something else, in words."""
    for pair in pairs:
        wanted, there = [tuple(each.shape) for each in pair.variables], [tuple(each.shape) for each in pair.arrays]
        if not there:
            return f"it holds nothing for the layer {pair.layer.name!r} ({_said(wanted)}); is it one without the top?"
        if wanted != there:
            return f"the layer {pair.layer.name!r} has {_said(wanted)}, and the file's {pair.saved_as!r} has {_said(there)}."
        if any(each.dtype.kind not in "fiu" for each in pair.arrays):
            return f"its {pair.saved_as!r} holds something other than numbers."
    return None


def _said(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) or "a number" for shape in shapes) or "no weights"


def _set(pair: _Pair, path: Path) -> None:
    for variable, array in zip(pair.variables, pair.arrays, strict=True):
        values = np.asarray(array)
        if not np.isfinite(values).all():
            raise BackboneError(
                f"{path} holds infinity or NaN at {pair.saved_as!r}, so every feature would be worthless. It is damaged."
            )
        variable.assign(values)
    if hasattr(pair.layer, "finalize_state"):
        pair.layer.finalize_state()  # of Normalization, which computes with copies
