"""AlexNet, in torchvision's variant, as its checkpoints are read.

Sources: A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks" (2012), in the
single tower of A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014), without response
normalisation: 61,100,840 parameters. Dropout is left out, as it does nothing outside training. torchvision averages the last map to
6 x 6, which it is already at 224 pixels.
"""

from __future__ import annotations

from typing import Any

from trunkline.backbones.backbone import Backbone, Normalisation, Published
from trunkline.backbones.classic.checkpoint import Checkpoint
from trunkline.backbones.classic.sizes import only_native

CLASSES = 1000
LAST_MAP = (6, 6, 256)
CONVOLUTIONS = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
}

BACKBONE = Backbone(
    name="alexnet",
    family="classic",
    size=224,
    normalisation=Normalisation(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375)),
    cut="fc7",
    width=4096,
    parameters=61_100_840,
    weights=Published(
        file="alexnet-owt-7be5be79.pth",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        checksum="sha256:7be5be79",
    ),
)


def build(size: int) -> Any:
    """keras.Model from (n, 224, 224, 3) float32, normalised, to (n, 1000). Raises BackboneError for another size."""
    only_native(BACKBONE, size)
    import keras
    from keras import layers

    pixels = keras.Input((size, size, 3))
    x = layers.ZeroPadding2D(2, name="conv1_pad")(pixels)
    x = layers.Conv2D(64, 11, 4, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = layers.Conv2D(192, 5, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = layers.Conv2D(384, 3, padding="same", activation="relu", name="conv3")(x)
    x = layers.Conv2D(256, 3, padding="same", activation="relu", name="conv4")(x)
    x = layers.Conv2D(256, 3, padding="same", activation="relu", name="conv5")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(3, 2, name="pool5")(x))
    x = layers.Dense(4096, activation="relu", name="fc6")(x)
    x = layers.Dense(4096, activation="relu", name="fc7")(x)
    return keras.Model(pixels, layers.Dense(CLASSES, activation="softmax", name="predictions")(x), name="alexnet")


def fill(model: Any, checkpoint: Checkpoint) -> None:
    """The weights from a checkpoint with torchvision's keys. Raises BackboneError where it is of another network."""
    for layer, key in CONVOLUTIONS.items():
        checkpoint.convolution(model.get_layer(layer), key)
    checkpoint.dense(model.get_layer("fc6"), "classifier.1", LAST_MAP)
    checkpoint.dense(model.get_layer("fc7"), "classifier.4")
    checkpoint.dense(model.get_layer("predictions"), "classifier.6")
    checkpoint.finish()
