"""Which layers phase 2 trains: what a user may say of it, as layers' names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from trunkline.errors import BackboneError, did_you_mean

SHOWN = 8


def unfrozen(layers: Sequence[str], asked: str, backbone: str) -> list[str]:
    """The last layers of a network, from the one that was asked for to the cut.

    Parameters
    ----------
    layers : all layers up to the cut, in the network's order.
    asked : a number of layers; a share of them, such as 0.5; a layer's name, or a block's, which is what its layers' names begin with; or
        `all`.
    backbone : its name, for the errors.

    Raises
    ------
    BackboneError : more layers than there are, or no such layer or block.
    """
    if asked == "all":
        return list(layers)
    if asked in layers:
        return list(layers[layers.index(asked) :])
    if re.fullmatch(r"\d+", asked):
        return _last(layers, int(asked), backbone)
    if re.fullmatch(r"\d*\.\d*(e-?\d+)?", asked):
        return list(layers[-math.ceil(float(asked) * len(layers)) :])
    first = next((place for place, name in enumerate(layers) if _is_of_block(name, asked)), None)
    if first is None:
        blocks = list(dict.fromkeys(re.split(r"[_./]", name)[0] for name in layers))
        raise BackboneError(
            f"{backbone} has no layer or block {asked!r} before the cut, so nothing there can be unfrozen."
            f"{did_you_mean(asked, [*blocks, *layers])} Its last layers are {', '.join(layers[-SHOWN:])}; "
            f"`trunkline backbones {backbone}` lists all."
        )
    return list(layers[first:])


def _last(layers: Sequence[str], count: int, backbone: str) -> list[str]:
    if count > len(layers):
        raise BackboneError(
            f"{backbone} has {len(layers)} layers up to the cut, so the last {count:,} cannot be unfrozen. Ask for at most "
            f"{len(layers)}, or for all."
        )
    return list(layers[-count:])


def _is_of_block(name: str, block: str) -> bool:
    """`block7` is of block7_expand_conv, and not of block70_add."""
    return name.startswith(block) and not name[len(block) :][:1].isalnum()
