"""A fitted head, opened to predict: chosen by its kind or digest, read back with its mask, and checked against its feature set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from trunkline import selection
from trunkline.errors import CorruptStore, DataError, did_you_mean
from trunkline.heads.linear_head import LinearHead
from trunkline.heads.protocol import Features, FittedHead
from trunkline.heads.targets import Target
from trunkline.locations import Location
from trunkline.specs.heads import TargetKind

LINEAR = ("softmax", "svm", "ridge", "centroid")
REFIT = "Delete the head, then run `trunkline fit`: it is fitted again."


@dataclass(frozen=True)
class OpenHead:
    """What predicts: a head and the columns it was fitted on.

    Parameters
    ----------
    name : `<kind>-<digest>`, the folder it lies in.
    layer : whose features it takes.
    columns : (dim,) bool, those that its mask keeps; `mask` is the mask's digest.
    recipe : of the feature set, a digest.
    """

    name: str
    kind: str
    target: Target
    layer: str
    columns: NDArray[np.bool_]
    mask: str
    recipe: str
    fitted: FittedHead

    @property
    def digest(self) -> str:
        """Of all that went into it."""
        return self.name.rpartition("-")[2]

    def outputs(self, features: Features) -> NDArray[np.float64]:
        """(n, dim) features of the layer, all columns → (n, k)."""
        return self.fitted.outputs(np.ascontiguousarray(features[:, self.columns], np.float32))


def fitted_in(folder: Location) -> list[str]:
    """Names of the heads of a feature set that were fitted to the end."""
    return [name for name in folder.names() if (folder / name / "head.json").exists()]


def chosen_in(folder: Location, asked: str | None) -> str:
    """The head that is meant.

    Parameters
    ----------
    folder : `heads/<dataset>/<recipe>` of a feature set.
    asked : a kind, a name, a digest or the start of one; None for the only head there is.

    Raises
    ------
    DataError : none there, none of that name, or several.
    """
    names = fitted_in(folder)
    if not names:
        raise DataError(f"No head was fitted yet under {folder}. Run `trunkline fit` or `trunkline run` first.")
    found = [name for name in names if asked is None or _is_meant(name, asked)]
    if not found:
        known = sorted({*names, *(name.rpartition("-")[0] for name in names)})
        raise DataError(f"There is no head {asked!r}.{did_you_mean(asked or '', known)} There are: {', '.join(names)}.")
    if len(found) > 1:
        which = f"of the kind {asked}" if asked else "there"
        raise DataError(f"There are {len(found)} heads {which}: {', '.join(found)}. Name one of them by its digest.")
    return found[0]


def _is_meant(name: str, asked: str) -> bool:
    kind, _, digest = name.rpartition("-")
    return asked in (name, kind) or (len(asked) >= 4 and digest.startswith(asked))


def open_head(location: Location, store: Location, recipe: str, widths: Mapping[str, int]) -> OpenHead:
    """A head as it was fitted.

    Parameters
    ----------
    location : its folder, with `head.json`.
    store : the root that its mask's place is relative to.
    recipe, widths : digest of the feature set it is used on, and that one's layers.

    Raises
    ------
    CorruptStore : its files or its mask are damaged, missing or others than those it was fitted with.
    DataError : it was fitted on another feature set.
    """
    said = _said(location)
    try:
        target, kind, origin = _target(said["target"]), str(said["kind"]), said["origin"]
        mask_place, mask_digest, layer, of = (str(origin[name]) for name in ("mask", "mask_digest", "layer", "recipe"))
        files = {str(name): str(sha256) for name, sha256 in said["sha256"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptStore(f"{location}/head.json lacks what a head needs ({error!r}). {REFIT}") from error
    if of != recipe or layer not in widths:
        raise DataError(
            f"The head {location.name} was fitted on the layer {layer} of the recipe {of}; these features are {', '.join(widths)} "
            f"of {recipe}, on which it would give nonsense. Take a head of this feature set."
        )
    columns = _columns(location, store / mask_place, mask_digest, layer, widths[layer])
    fitted = _fitted(kind, {name: _file(location / name, sha256) for name, sha256 in files.items()}, target)
    _try_out(location, fitted, int(columns.sum()), target)
    return OpenHead(location.name, kind, target, layer, columns, mask_digest, of, fitted)


def _said(location: Location) -> dict[str, Any]:
    try:
        said = json.loads((location / "head.json").read())
    except (FileNotFoundError, ValueError) as error:
        raise CorruptStore(f"{location}/head.json is missing or damaged. {REFIT}") from error
    if not isinstance(said, dict):
        raise CorruptStore(f"{location}/head.json holds no description of a head. {REFIT}")
    return said


def _target(said: Mapping[str, Any]) -> Target:
    if said["kind"] not in get_args(TargetKind) or not isinstance(said["names"], Sequence) or not said["names"]:
        raise ValueError("no target")
    return Target(said["kind"], tuple(map(str, said["names"])))


def _file(place: Location, sha256: str) -> bytes:
    content = place.read() if place.exists() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptStore(f"{place} is missing, or not what was fitted (its SHA-256 differs). {REFIT}")
    return content


def _columns(location: Location, place: Location, digest: str, layer: str, width: int) -> NDArray[np.bool_]:
    try:
        mask = selection.load(place)
    except FileNotFoundError as error:
        raise CorruptStore(
            f"The mask {place} of the head {location.name} is gone, so nobody knows which columns it takes. {REFIT}"
        ) from error
    kept = mask.layers[layer].kept if layer in mask.layers else np.empty(0, bool)
    if mask.digest != digest or len(kept) != width:
        raise DataError(
            f"The mask {place} (digest {mask.digest}, {len(kept)} columns of {layer}) is not the one that the head {location.name} was "
            f"fitted with (digest {digest}, {width} columns): its columns would be others. {REFIT}"
        )
    return kept


def _fitted(kind: str, files: Mapping[str, bytes], target: Target) -> FittedHead:
    if kind in LINEAR:
        return LinearHead.load(files)
    from trunkline.heads.catalogue import load_head  # its libraries take seconds, and linear heads need none of them

    return load_head(kind, files, target)


def _try_out(location: Location, fitted: FittedHead, width: int, target: Target) -> None:
    """A head of another width or other classes fails here and not in the middle of a million rows."""
    try:
        outputs = fitted.outputs(np.zeros((1, width), np.float32))
    except (ValueError, IndexError) as error:
        raise CorruptStore(
            f"The head {location.name} does not take the {width} columns of its mask ({error}). {REFIT}"
        ) from error
    if outputs.shape != (1, target.outputs):
        raise CorruptStore(
            f"The head {location.name} gives {outputs.shape[-1]} outputs, and its target has {target.outputs} names. {REFIT}"
        )
