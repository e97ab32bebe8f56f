"""A fitted head, opened to predict: chosen by its kind or digest, read back with its mask, and checked against its feature set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline import selection
from trunkline.errors import CorruptStore, DataError, did_you_mean
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact
from trunkline.heads.protocol import Features, FittedHead
from trunkline.heads.targets import Target
from trunkline.locations import Location

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
    saved = artifact.load(location)
    if saved is None:
        raise CorruptStore(f"{location}/head.json is missing, or of an earlier format. {REFIT}")
    origin, width = saved.origin, widths.get(saved.origin.layer, 0)
    if origin.recipe != recipe or not width:
        raise DataError(
            f"The head {saved.name} was fitted on the layer {origin.layer} of the recipe {origin.recipe}; these features are "
            f"{', '.join(widths)} of {recipe}, on which it would give nonsense. Take a head of this feature set."
        )
    columns = _columns(saved, store / origin.mask, width)
    fitted = saved.opened()
    _try_out(saved, fitted, int(columns.sum()))
    return OpenHead(saved.name, saved.kind, saved.target, origin.layer, columns, origin.mask_digest, recipe, fitted)


def _columns(saved: HeadArtifact, place: Location, width: int) -> NDArray[np.bool_]:
    try:
        mask = selection.load(place)
    except FileNotFoundError as error:
        raise CorruptStore(
            f"The mask {place} of the head {saved.name} is gone, so nobody knows which columns it takes. {REFIT}"
        ) from error
    layer, digest = saved.origin.layer, saved.origin.mask_digest
    kept = mask.layers[layer].kept if layer in mask.layers else np.empty(0, bool)
    if mask.digest != digest or len(kept) != width:
        raise DataError(
            f"The mask {place} (digest {mask.digest}, {len(kept)} columns of {layer}) is not the one that the head {saved.name} was "
            f"fitted with (digest {digest}, {width} columns): its columns would be others. {REFIT}"
        )
    return kept


def _try_out(saved: HeadArtifact, fitted: FittedHead, width: int) -> None:
    """A head of another width or other classes fails here and not in the middle of a million rows."""
    try:
        outputs = fitted.outputs(np.zeros((1, width), np.float32))
    except (ValueError, IndexError) as error:
        raise CorruptStore(f"The head {saved.name} does not take the {width} columns of its mask ({error}). {REFIT}") from error
    if outputs.shape != (1, saved.target.outputs):
        raise CorruptStore(
            f"The head {saved.name} gives {outputs.shape[-1]} outputs, and its target has {saved.target.outputs} names. {REFIT}"
        )
