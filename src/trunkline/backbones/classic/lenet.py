"""LeNet-5.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied to Document Recognition" (1998), section
II.B and Table I. As there: trainable subsampling, the partial connections of C3, scaled tanh units, and an output of Euclidean
radial basis functions whose centres are fixed. The paper takes one grey channel, so a fixed luminance (ITU-R BT.601) comes first.
The ten centres are 7 x 12 bitmaps of the digits; the paper prints its own as a figure only, so these are drawn in its manner.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.backbone import Backbone, Normalisation
from trunkline.backbones.classic.sizes import only_native

LUMINANCE = (0.299, 0.587, 0.114)
AMPLITUDE, SLOPE = 1.7159, 2.0 / 3.0  # of the squashing function A tanh(S a), appendix A
S2_MAPS = 6
# Table I: which maps of S2 each map of C3 sees
C3_SEES = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *(
        (0, 1, 2, 3),
        (1, 2, 3, 4),
        (2, 3, 4, 5),
        (0, 3, 4, 5),
        (0, 1, 4, 5),
        (0, 1, 2, 5),
        (0, 1, 3, 4),
        (1, 2, 4, 5),
        (0, 2, 3, 5),
    ),
    (0, 1, 2, 3, 4, 5),
)
DIGITS = """
.#####. ...##.. .#####. .#####. #....#. ####### .#####. ####### .#####. .#####.
##...## ..###.. ##...## ##...## #....#. #...... ##...## .....## ##...## ##...##
#.....# .#.##.. #.....# #.....# #....#. #...... #...... ....##. #.....# #.....#
#.....# ...##.. ......# ......# #....#. #...... #...... ....#.. #.....# #.....#
#.....# ...##.. .....## .....## #....#. ######. #...... ...##.. ##...## #.....#
#.....# ...##.. ....##. ...###. #....#. #....## ######. ...#... .#####. ##...##
#.....# ...##.. ...##.. .....## ####### ......# ##...## ..##... ##...## .######
#.....# ...##.. ..##... ......# .....#. ......# #.....# ..#.... #.....# ......#
#.....# ...##.. .##.... ......# .....#. ......# #.....# ..#.... #.....# ......#
#.....# ...##.. ##..... #.....# .....#. #.....# #.....# .##.... #.....# ......#
##...## ...##.. #...... ##...## .....#. ##...## ##...## .##.... ##...## ##...##
.#####. .###### ####### .#####. .....#. .#####. .#####. .##.... .#####. .#####.
"""

BACKBONE = Backbone(
    name="lenet-5",
    family="classic",
    size=32,
    # the paper's background is -0.1 and its ink 1.175; on ink of 255 on a background of 0, as MNIST's files store it
    normalisation=Normalisation(mean=20.0, deviation=200.0),
    cut="f6",
    width=84,
    parameters=60_000,
)


def centres() -> NDArray[np.float32]:
    """(84, 10) of -1 and 1: the bitmap of each digit, row by row."""
    rows = [line.split() for line in DIGITS.split("\n") if line]
    return np.array([[1.0 if dot == "#" else -1.0 for row in rows for dot in row[digit]] for digit in range(10)], np.float32).T


def build(size: int) -> Any:
    """keras.Model from (n, 32, 32, 3) float32, normalised, to (n, 10). Raises BackboneError for another size."""
    only_native(BACKBONE, size)
    import keras
    from keras import layers

    def squashed(x: Any, name: str) -> Any:
        x = layers.Activation("tanh", name=f"{name}_tanh")(layers.Rescaling(SLOPE, name=f"{name}_slope")(x))
        return layers.Rescaling(AMPLITUDE, name=name)(x)

    def subsampled(x: Any, name: str) -> Any:
        """The paper adds four units and multiplies by a coefficient; here it is the coefficient of their mean, four times as large."""
        x = layers.AveragePooling2D(2, name=f"{name}_mean")(x)
        return squashed(layers.DepthwiseConv2D(1, depthwise_initializer="ones", name=f"{name}_coefficient")(x), name)

    pixels = keras.Input((size, size, 3))
    luminance = keras.ops.sum(layers.Rescaling(list(LUMINANCE), name="luminance_parts")(pixels), axis=-1, keepdims=True)
    x = squashed(layers.Conv2D(S2_MAPS, 5, name="c1_conv")(luminance), "c1")
    maps = keras.ops.split(subsampled(x, "s2"), S2_MAPS, axis=-1)
    seen = [layers.Concatenate(name=f"c3_{number}_sees")([maps[each] for each in sees]) for number, sees in enumerate(C3_SEES)]
    x = layers.Concatenate(name="c3_conv")([layers.Conv2D(1, 5, name=f"c3_{n}_conv")(each) for n, each in enumerate(seen)])
    x = subsampled(squashed(x, "c3"), "s4")
    x = squashed(layers.Conv2D(120, 5, name="c5_conv")(x), "c5")
    x = squashed(layers.Dense(84, name="f6_dense")(layers.Flatten(name="flatten")(x)), "f6")
    # y = |x - w|² = |x|² + 84 - 2 x·w, and only the last term differs from class to class: softmax(-y) = softmax(2 x·w)
    products = layers.Dense(10, use_bias=False, trainable=False, name="rbf")
    x = layers.Rescaling(2.0, name="rbf_doubled")(products(x))
    model = keras.Model(pixels, layers.Softmax(name="predictions")(x), name="lenet-5")
    products.set_weights([centres()])
    return model
