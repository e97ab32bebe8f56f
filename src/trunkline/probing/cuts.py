"""Sensible places to cut a network: where its blocks end, found by the names and kinds of its layers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from trunkline.backbones.backbone import Layer
from trunkline.backbones.compilation import Cuts
from trunkline.heads.spectrum import MOST_FEATURES

MOST_CUTS = 24  # of one network: deeper ones are thinned evenly, since neighbours differ by little
WIDEST = MOST_FEATURES  # of a vector: the probe's Gram matrix takes no more
FEWEST_BLOCKS = 3  # with fewer named blocks the names tell nothing
# block3_add, block_3_project, block3a_add, conv2_block1_out, stage_0_block_1, expanded_conv_3, conv_pw_3_relu; mixed3, inception3a alone
BLOCK = re.compile(
    r"(?P<block>.*?(?:block_?\d+[a-z]?|expanded_conv(?:_\d+)?|conv_pw_\d+)(?=_|$)|mixed\d+$|inception_?\d+[a-z]?(?=_|$))"
)
MERGES = ("Add", "Concatenate", "Concat")  # of Keras and of ONNX
ACTIVATIONS = ("Activation", "ReLU", "PReLU", "LeakyReLU", "Relu", "Clip", "Softmax", "Tanh", "Sigmoid")
POOLS = ("MaxPooling2D", "AveragePooling2D", "MaxPool", "AveragePool")
GLOBAL_POOLS = ("GlobalAveragePooling2D", "GlobalAveragePool")
WEIGHTED = ("Conv2D", "Dense", "SeparableConv2D", "DepthwiseConv2D", "Conv", "Gemm", "MatMul")
SHAPES_ALONE = ("Flatten", "Reshape", "Dropout", "ZeroPadding2D", "Rescaling", "Normalization", "Pad", "Identity")


def sensible(cuts: Cuts, pooling: str) -> list[str]:
    """Names of layers to compare, in the network's order: ends of stem and blocks, the default cut, dense layers before the classifier.

    Parameters
    ----------
    cuts : all layers of the network, and its default cut.
    pooling : with `avg`, the map before the network's own average pooling gives what that gives, and is left out.
    """
    layers = cuts.layers
    default = next((number for number, layer in enumerate(layers) if layer.name == cuts.cut), len(layers) - 1)
    ends = _block_ends(layers) or _merge_ends(layers) or _unit_ends(layers)
    dense = [n for n, layer in enumerate(layers[:-1]) if n > default and layer.kind == "Dense" and len(layer.shape) == 1]
    last_map = max((n for n in range(default + 1) if _is_map(layers[n])), default=default)
    chosen = sorted({n for n in ends if n <= default} | {last_map, default} | set(dense))
    chosen = [n for n in chosen if n == default or _is_useful(layers, n, pooling)]
    return [layers[n].name for n in _thinned(chosen)]


def classifier(cuts: Cuts, classes: int) -> str | None:
    """The layer that says the network's own classes; None where it ends otherwise."""
    last = cuts.layers[-1]
    return last.name if last.shape == (classes,) else None


def _block_ends(layers: Sequence[Layer]) -> list[int]:
    """The last layer of the stem and of each named block; none where names tell of no blocks."""
    firsts: dict[str, int] = {}
    named: dict[str, int] = {}
    for number, layer in enumerate(layers):
        if found := BLOCK.match(layer.name):
            firsts.setdefault(found["block"], number)
            named[found["block"]] = number
    if len(firsts) < FEWEST_BLOCKS:
        return []
    starts = sorted(firsts.values())
    ends = [starts[0] - 1] if starts[0] else []
    for block, first in firsts.items():
        stop = next((start for start in starts if start > first), len(layers))
        ends.append(_end_of(layers, block, first, stop, named[block]))
    return sorted(ends)


def _end_of(layers: Sequence[Layer], block: str, first: int, stop: int, named: int) -> int:
    """Of a block: the merge that has its name, or its last merge with the activation after it, or its last layer by name."""
    own = [n for n in range(first, len(layers)) if layers[n].name == block and layers[n].kind in MERGES]
    if own:
        return own[0]
    merges = [n for n in range(first, stop) if layers[n].kind in MERGES]
    return _with_activation(layers, merges[-1], stop) if merges else named


def _merge_ends(layers: Sequence[Layer]) -> list[int]:
    """Of networks without named blocks: where branches meet, concatenations before sums."""
    for kinds in (("Concatenate", "Concat"), ("Add",)):
        found = [n for n, layer in enumerate(layers) if layer.kind in kinds and _is_map(layer)]
        if len(found) >= FEWEST_BLOCKS:
            return [_with_activation(layers, n, len(layers)) for n in found]
    return []


def _unit_ends(layers: Sequence[Layer]) -> list[int]:
    """Of plain chains: the last layer before each one with weights, and the pools."""
    found = {n - 1 for n, layer in enumerate(layers) if layer.kind in WEIGHTED and n}
    return sorted(found | {n for n, layer in enumerate(layers) if layer.kind in POOLS})


def _with_activation(layers: Sequence[Layer], number: int, stop: int) -> int:
    following = number + 1
    return following if following < stop and layers[following].kind in ACTIVATIONS else number


def _is_map(layer: Layer) -> bool:
    return len(layer.shape) == 3


def _is_useful(layers: Sequence[Layer], number: int, pooling: str) -> bool:
    layer = layers[number]
    following = layers[number + 1] if number + 1 < len(layers) else None
    repeated = pooling == "avg" and following is not None and following.kind in GLOBAL_POOLS and _is_map(layer)
    return layer.kind not in SHAPES_ALONE and not repeated and 0 < (layer.width or 0) <= WIDEST


def _thinned(chosen: Sequence[int]) -> list[int]:
    if len(chosen) <= MOST_CUTS:
        return list(chosen)
    return [chosen[place] for place in np.linspace(0, len(chosen) - 1, MOST_CUTS).round().astype(int)]
