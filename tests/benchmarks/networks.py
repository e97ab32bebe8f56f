"""The networks that are measured, in Keras's and torchvision's words. Random weights: the values change no time."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.job import SIZE


@dataclass(frozen=True)
class Network:
    """`backbone` is trunkline's name; the others are where Keras and torchvision keep the same network."""

    backbone: str
    keras_module: str
    keras_class: str
    torchvision: str

    def keras_model(self) -> Any:
        """From normalised (n, 224, 224, 3) float32 to pooled features, (n, width) float32."""
        import keras

        build = getattr(keras.applications, self.keras_class)
        return build(weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3))

    def keras_preprocessing(self) -> Callable[[Any], Any]:
        return importlib.import_module(f"keras.applications.{self.keras_module}").preprocess_input


NETWORKS: Mapping[str, Network] = {
    network.backbone: network
    for network in (
        Network("mobilenet-v2", "mobilenet_v2", "MobileNetV2", "mobilenet_v2"),
        Network("resnet50", "resnet", "ResNet50", "resnet50"),
    )
}
