"""GoogLeNet (Inception v1), in torchvision's variant, as its checkpoints are read.

Source: C. Szegedy et al., "Going Deeper with Convolutions" (2014). torchvision's differs from the paper in four ways: batch
normalisation after each convolution and no bias, no response normalisation, and kernels of 3 x 3 where the paper has 5 x 5 (a known
mistake of its third branch, which the published weights were trained with). The two auxiliary classifiers serve training only and
are left out: 6,624,904 parameters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trunkline.backbones.backbone import Backbone, Normalisation, Published
from trunkline.backbones.classic.checkpoint import Checkpoint
from trunkline.backbones.classic.sizes import at_least

CLASSES = 1000
MIN_SIZE = 15
BATCH_NORM_EPSILON = 1e-3
AUXILIARY = ("aux1.", "aux2.")


class Inception(NamedTuple):
    """Widths of one module, the columns of Table 1 of the paper."""

    direct: int
    reduced_3x3: int
    out_3x3: int
    reduced_5x5: int
    out_5x5: int
    pooled: int


STAGE_3 = {"inception3a": Inception(64, 96, 128, 16, 32, 32), "inception3b": Inception(128, 128, 192, 32, 96, 64)}
STAGE_4 = {
    "inception4a": Inception(192, 96, 208, 16, 48, 64),
    "inception4b": Inception(160, 112, 224, 24, 64, 64),
    "inception4c": Inception(128, 128, 256, 24, 64, 64),
    "inception4d": Inception(112, 144, 288, 32, 64, 64),
    "inception4e": Inception(256, 160, 320, 32, 128, 128),
}
STAGE_5 = {"inception5a": Inception(256, 160, 320, 32, 128, 128), "inception5b": Inception(384, 192, 384, 48, 128, 128)}

BACKBONE = Backbone(
    name="googlenet",
    family="classic",
    size=224,
    # torchvision normalises by ImageNet's mean m and deviation s, and then, as the weights come from elsewhere, inside the network
    # (transform_input) by v s / 0.5 + (m - 0.5) / 0.5. Together: ((p/255 - m) / s) s / 0.5 + (m - 0.5) / 0.5 = (p - 127.5) / 127.5
    normalisation=Normalisation(mean=127.5, deviation=127.5),
    cut="avg_pool",
    width=1024,
    parameters=6_624_904,
    weights=Published(
        file="googlenet-1378be20.pth",
        url="https://download.pytorch.org/models/googlenet-1378be20.pth",
        checksum="sha256:1378be20",
    ),
)


def build(size: int) -> Any:
    """keras.Model from (n, size, size, 3) float32, normalised, to (n, 1000). Raises BackboneError for less than 15 pixels."""
    at_least(BACKBONE, size, MIN_SIZE)
    import keras
    from keras import layers

    def conv(x: Any, name: str, width: int, kernel: int, stride: int = 1) -> Any:
        padding = "same" if stride == 1 else "valid"
        x = layers.Conv2D(width, kernel, stride, padding, use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn")(x)
        return layers.ReLU(name=name)(x)

    def max_pool(x: Any, name: str, kernel: int) -> Any:
        """Stride 2, and a last window may stick out (PyTorch's ceil_mode). Keras pads before as well unless windows fit exactly."""
        padding = "valid" if (x.shape[1] - kernel) % 2 == 0 else "same"
        return layers.MaxPooling2D(kernel, 2, padding, name=name)(x)

    def inceptions(x: Any, modules: dict[str, Inception]) -> Any:
        for name, widths in modules.items():
            branch1 = conv(x, f"{name}_branch1", widths.direct, 1)
            branch2 = conv(conv(x, f"{name}_branch2_0", widths.reduced_3x3, 1), f"{name}_branch2_1", widths.out_3x3, 3)
            branch3 = conv(conv(x, f"{name}_branch3_0", widths.reduced_5x5, 1), f"{name}_branch3_1", widths.out_5x5, 3)
            branch4 = layers.MaxPooling2D(3, 1, "same", name=f"{name}_branch4_0")(x)
            branch4 = conv(branch4, f"{name}_branch4_1", widths.pooled, 1)
            x = layers.Concatenate(name=name)([branch1, branch2, branch3, branch4])
        return x

    pixels = keras.Input((size, size, 3))
    x = conv(layers.ZeroPadding2D(3, name="conv1_pad")(pixels), "conv1", 64, 7, 2)
    x = conv(max_pool(x, "maxpool1", 3), "conv2", 64, 1)
    x = max_pool(conv(x, "conv3", 192, 3), "maxpool2", 3)
    x = max_pool(inceptions(x, STAGE_3), "maxpool3", 3)
    x = max_pool(inceptions(x, STAGE_4), "maxpool4", 2)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(inceptions(x, STAGE_5))
    return keras.Model(pixels, layers.Dense(CLASSES, activation="softmax", name="predictions")(x), name="googlenet")


def fill(model: Any, checkpoint: Checkpoint) -> None:
    """The weights from a checkpoint with torchvision's keys. Raises BackboneError where it is of another network."""
    names = [layer.name.removesuffix("_conv") for layer in model.layers if layer.name.endswith("_conv")]
    for name in names:
        key = name.replace("_", ".")  # layers bear torchvision's names, but for its dots
        checkpoint.convolution(model.get_layer(f"{name}_conv"), f"{key}.conv")
        checkpoint.normalisation(model.get_layer(f"{name}_bn"), f"{key}.bn")
    checkpoint.dense(model.get_layer("predictions"), "fc")
    checkpoint.finish(*AUXILIARY)
