"""OverFeat, the fast model.

Source: P. Sermanet, D. Eigen, X. Zhang, M. Mathieu, R. Fergus and Y. LeCun, "OverFeat: Integrated Recognition, Localization and
Detection using Convolutional Networks" (2013), Table 1: 145 million parameters. The mean and deviation of pixels are those in the
program that its authors released. Dropout is left out, as it does nothing outside training.
"""

from __future__ import annotations

from typing import Any

from trunkline.backbones.backbone import Backbone, Normalisation
from trunkline.backbones.classic.sizes import only_native

CLASSES = 1000

BACKBONE = Backbone(
    name="overfeat-fast",
    family="classic",
    size=231,
    normalisation=Normalisation(mean=118.380948, deviation=61.896913),
    cut="fc7",
    width=4096,
    parameters=145_920_872,
)


def build(size: int) -> Any:
    """keras.Model from (n, 231, 231, 3) float32, normalised, to (n, 1000). Raises BackboneError for another size."""
    only_native(BACKBONE, size)
    import keras
    from keras import layers

    pixels = keras.Input((size, size, 3))
    x = layers.Conv2D(96, 11, 4, activation="relu", name="conv1")(pixels)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(256, 5, activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Conv2D(512, 3, padding="same", activation="relu", name="conv3")(x)
    x = layers.Conv2D(1024, 3, padding="same", activation="relu", name="conv4")(x)
    x = layers.Conv2D(1024, 3, padding="same", activation="relu", name="conv5")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool5")(x))
    x = layers.Dense(3072, activation="relu", name="fc6")(x)
    x = layers.Dense(4096, activation="relu", name="fc7")(x)
    return keras.Model(pixels, layers.Dense(CLASSES, activation="softmax", name="predictions")(x), name="overfeat-fast")
