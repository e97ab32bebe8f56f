"""PReLU-net, model A.

Source: K. He, X. Zhang, S. Ren and J. Sun, "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet
Classification" (2015), Table 3: 16 convolutions and 3 fully connected layers, a rectifier with one learned slope a channel after each
but the last, and before the first fully connected layer a spatial pyramid of 7 x 7, 3 x 3, 2 x 2 and 1 x 1 bins (K. He, X. Zhang,
S. Ren and J. Sun, "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", 2014). The paper subtracts a mean
image that was never published; ImageNet's mean pixel stands for it. Dropout is left out, as it does nothing outside training.
"""

from __future__ import annotations

from typing import Any

from trunkline.backbones.backbone import Backbone, Normalisation
from trunkline.backbones.classic.sizes import only_native

CLASSES = 1000
FIRST_SLOPE = 0.25  # of every rectifier before training
STAGES = {"conv2": 256, "conv3": 512, "conv4": 512}
CONVOLUTIONS_A_STAGE = 5
PYRAMID = (7, 3, 2, 1)

BACKBONE = Backbone(
    name="prelu-net",
    family="classic",
    size=224,
    normalisation=Normalisation(mean=(123.675, 116.28, 103.53)),
    cut="fc2_prelu",
    width=4096,
    parameters=178_032_072,
)


def build(size: int) -> Any:
    """keras.Model from (n, 224, 224, 3) float32, normalised, to (n, 1000). Raises BackboneError for another size."""
    only_native(BACKBONE, size)
    import keras
    from keras import layers

    def prelu(x: Any, name: str) -> Any:
        return layers.PReLU(
            keras.initializers.Constant(FIRST_SLOPE), shared_axes=[1, 2][: len(x.shape) - 2], name=f"{name}_prelu"
        )(x)

    def conv(x: Any, name: str, width: int) -> Any:
        return prelu(layers.Conv2D(width, 3, padding="same", kernel_initializer="he_normal", name=name)(x), name)

    def dense(x: Any, name: str) -> Any:
        return prelu(layers.Dense(4096, kernel_initializer="he_normal", name=name)(x), name)

    def bins(x: Any, count: int) -> Any:
        """Windows of ⌈side / count⌉ every ⌊side / count⌋ pixels: count x count of them."""
        side = x.shape[1]
        x = layers.MaxPooling2D(-(-side // count), side // count, name=f"spp_{count}x{count}")(x)
        return layers.Flatten(name=f"spp_{count}x{count}_flat")(x)

    pixels = keras.Input((size, size, 3))
    x = layers.ZeroPadding2D(3, name="conv1_pad")(pixels)
    x = prelu(layers.Conv2D(96, 7, 2, kernel_initializer="he_normal", name="conv1")(x), "conv1")
    for number, (stage, width) in enumerate(STAGES.items(), 1):
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
        for step in range(1, CONVOLUTIONS_A_STAGE + 1):
            x = conv(x, f"{stage}_{step}", width)
    x = layers.Concatenate(name="spp")([bins(x, count) for count in PYRAMID])
    x = dense(dense(x, "fc1"), "fc2")
    return keras.Model(pixels, layers.Dense(CLASSES, activation="softmax", name="predictions")(x), name="prelu-net")
