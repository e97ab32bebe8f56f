"""The network that is fine-tuned, in Keras: normalisation, backbone up to the cut, pooling, a new head; and its training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones import network
from trunkline.backbones.compilation import Order
from trunkline.backbones.importing import import_keras
from trunkline.errors import BackboneError
from trunkline.specs import FinetuneSpec

OUTPUT, PROBABILITIES = "tuned_classes", "tuned_probabilities"
INFERENCE_BATCH = 64

Arrays = dict[str, NDArray[Any]]


@dataclass
class TunedNetwork:
    """Backbone and new head; the backbone always computes in inference mode, so no BatchNorm statistic ever moves.

    Parameters
    ----------
    order : network and recipe with one layer, the cut.
    unfrozen : names of the layers that phase 2 trains.
    classes : how many.
    mixed : computes in half precision, with weights in float32.
    """

    order: Order
    tune: FinetuneSpec
    unfrozen: Sequence[str]
    classes: int
    mixed: bool = False
    whole: Any = field(init=False)
    trunk: Any = field(init=False)
    head: Any = field(init=False)

    def __post_init__(self) -> None:
        keras = import_keras()
        keras.config.set_dtype_policy("mixed_float16" if self.mixed else "float32")
        keras.utils.set_random_seed(self.tune.seed)
        backbone, recipe = self.order.network.backbone, self.order.recipe
        self.whole = network.whole(backbone, self.order.network.weights, recipe.size)
        cut = self.whole.get_layer(recipe.layers[0]).output
        self.trunk = keras.Model(self.whole.inputs, pooled(keras, cut, recipe.pooling))
        width = self.trunk.output.shape[-1]
        self.head = _head(keras, self.tune, width, self.classes)
        for layer in self.trunk.layers:
            layer.trainable = layer.name in set(self.unfrozen)
        self._start = [each.numpy() for each in self._unfrozen_variables]
        if not self._unfrozen_variables:
            raise BackboneError(
                f"The layers {', '.join(list(self.unfrozen)[:8])} of {backbone.name} have no weights, so unfreezing them trains nothing. "
                "Unfreeze more layers."
            )

    @property
    def width(self) -> int:
        """Features of an image."""
        return int(self.trunk.output.shape[-1])

    def features(self) -> Callable[[Any], NDArray[np.float32]]:
        """Pixels (n, size, size, 3) → features (n, width) float32, of the backbone as it is now."""
        import tensorflow as tf

        run = tf.function(lambda pixels: tf.cast(self._features(pixels), tf.float32), reduce_retracing=True, autograph=False)
        return lambda pixels: np.asarray(run(tf.constant(pixels)), np.float32)

    def probabilities(self) -> Callable[[Any], NDArray[np.float32]]:
        """Pixels → (n, classes) float32."""
        import tensorflow as tf

        run = tf.function(
            lambda pixels: tf.nn.softmax(self.head(self._features(pixels), training=False)), reduce_retracing=True
        )
        return lambda pixels: np.asarray(run(tf.constant(pixels)), np.float32)

    def head_probabilities(self) -> Callable[[Any], NDArray[np.float32]]:
        """Features (n, width) → (n, classes) float32."""
        import tensorflow as tf

        run = tf.function(
            lambda features: tf.nn.softmax(self.head(features, training=False)), reduce_retracing=True, autograph=False
        )
        return lambda features: np.asarray(run(tf.constant(features)), np.float32)

    def head_step(self, weights: NDArray[np.float32]) -> Trainer:
        """Trains the head on features of the frozen backbone."""
        return Trainer(self, self.head.trainable_variables, lambda features: features, weights)

    def layers_step(self, weights: NDArray[np.float32]) -> Trainer:
        """Trains the unfrozen layers and the head on pixels."""
        return Trainer(self, [*self._unfrozen_variables, *self.head.trainable_variables], self._features, weights)

    def state(self, phase: str) -> Arrays:
        """What training changes: the head with the state of its dropout, and in phase `layers` the unfrozen weights."""
        variables = [*self.head.variables, *(self._unfrozen_variables if phase == "layers" else [])]
        return {f"weights/{number:04d}": each.numpy() for number, each in enumerate(variables)}

    def restore(self, arrays: Arrays, phase: str) -> None:
        """Set what `state` gave; the backbone is as it started where that was of phase `head`."""
        for variable, value in zip(self._unfrozen_variables, self._start, strict=True):
            variable.assign(value)
        variables = [*self.head.variables, *(self._unfrozen_variables if phase == "layers" else [])]
        for number, variable in enumerate(variables):
            variable.assign(arrays[f"weights/{number:04d}"])

    def _features(self, pixels: Any) -> Any:
        keras = import_keras()
        values = network.normalised(keras, keras.ops.cast(pixels, "float32"), self.order.network.backbone.normalisation)
        return self.trunk(values, training=False)

    @property
    def _unfrozen_variables(self) -> list[Any]:
        """Kernels, biases, and scales and shifts of normalisations; not their statistics."""
        return list(self.trunk.trainable_variables)


@dataclass
class Trainer:
    """One phase's optimizer, Adam, and its step."""

    tuned: TunedNetwork
    variables: Sequence[Any]
    features: Callable[[Any], Any]
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        import tensorflow as tf

        keras = import_keras()
        self.optimizer = keras.optimizers.Adam(1.0)
        if self.tuned.mixed:
            self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
        self.optimizer.build(self.variables)
        self._run = tf.function(self._step, reduce_retracing=True, autograph=False)

    def __call__(self, inputs: NDArray[Any], truth: NDArray[np.float32], rate: float) -> float:
        """One step; the loss before it."""
        import tensorflow as tf

        self.optimizer.learning_rate = rate
        return float(self._run(tf.constant(inputs), tf.constant(truth)))

    def state(self) -> Arrays:
        """The optimizer's variables."""
        return {f"optimizer/{number:04d}": each.numpy() for number, each in enumerate(self.optimizer.variables)}

    def restore(self, arrays: Arrays) -> None:
        """Set what `state` gave."""
        for number, variable in enumerate(self.optimizer.variables):
            variable.assign(arrays[f"optimizer/{number:04d}"])

    def _step(self, inputs: Any, truth: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            scores = self.tuned.head(self.features(inputs), training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(truth, scores)
            loss = tf.reduce_mean(losses * tf.linalg.matvec(truth, tf.constant(self.weights)))
            scaled = self.optimizer.scale_loss(loss) if self.tuned.mixed else loss
        gradients = tape.gradient(scaled, list(self.variables))
        self.optimizer.apply(gradients, self.variables)
        return loss


def pooled(keras: Any, cut: Any, pooling: str) -> Any:
    """The cut's map as a vector, by layers that a file may hold, as `trunkline.backbones.network.pooled` computes it."""
    layers, axes = keras.layers, len(cut.shape) - 2
    if not axes:
        return cut
    kinds = {"avg": f"GlobalAveragePooling{axes}D", "max": f"GlobalMaxPooling{axes}D", "none": "Flatten"}
    if pooling in kinds:
        return getattr(layers, kinds[pooling])(name="tuned_pooling")(cut)
    return network.pooled(keras, cut, pooling)


def names_to_the_cut(model_layers: Sequence[str], cut: str) -> list[str]:
    """The layers up to the cut, itself included."""
    return list(model_layers[: model_layers.index(cut) + 1])


def in_pieces(run: Callable[[Any], NDArray[np.float32]], inputs: NDArray[Any], places: NDArray[np.int64]) -> Iterator[Any]:
    """(first, values) of these places, some at a time."""
    for start in range(0, len(places), INFERENCE_BATCH):
        yield start, run(inputs[places[start : start + INFERENCE_BATCH]])


def _head(keras: Any, tune: FinetuneSpec, width: int, classes: int) -> Any:
    """Features → scores of the classes, in float32: dropout, then dense layers with ReLU and dropout between."""
    layers, built = keras.layers, [keras.Input((width,), name="tuned_features")]
    if tune.dropout:
        built.append(layers.Dropout(tune.dropout, seed=tune.seed, name="tuned_dropout", dtype="float32"))
    for number, units in enumerate(tune.widths, 1):
        name = f"tuned_dense_{number}"
        built.append(layers.Dense(units, "relu", kernel_initializer="he_normal", name=name, dtype="float32"))
    built.append(layers.Dense(classes, name=OUTPUT, dtype="float32"))
    return keras.Sequential(built, name="tuned_head")
