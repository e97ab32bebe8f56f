"""Fitting a multi-layer perceptron with Keras: what the process that has TensorFlow does.

`python -m trunkline.heads.mlp_training SECONDS` reads orders from its standard input and answers on its standard output; see `mlp_process`.
It ends when none has come for so many seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.keras_archive import saved
from trunkline.heads.batches import Batches
from trunkline.heads.dense_layers import DenseLayers
from trunkline.heads.folds import folds_of
from trunkline.heads.held_out import losses_of
from trunkline.heads.sampling import row_weights
from trunkline.heads.standard import Standard
from trunkline.heads.targets import Target, Truth
from trunkline.heads.training import TrainingData
from trunkline.specs import MlpSpec

HELD_OUT = 10  # one of so many rows stops the fit
ACTIVATIONS = {"classes": "softmax", "multilabel": "sigmoid", "regression": "linear"}
LOSSES = {"classes": "sparse_categorical_crossentropy", "multilabel": "binary_crossentropy", "regression": "mean_squared_error"}

Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Order:
    """What to fit. `data.executor` is the serial loop; `memory` bytes of features may be held."""

    spec: MlpSpec
    data: TrainingData
    standard: Standard
    seed: int
    memory: int


@dataclass(frozen=True)
class Fitted:
    """The model as a Keras file; epochs that ran, the best one and its loss on the held-out rows."""

    content: bytes
    epochs: int
    best: int
    loss: float


class NoNumberError(Exception):
    """The loss is no number any more."""


def fitted(order: Order, say: Say) -> Fitted:
    """Adam on shuffled mini-batches, until the loss on a held-out tenth has not become better for `patience` epochs.

    The weights are those of the best epoch. One thread, so that sums come in one order.

    Raises
    ------
    NoNumberError : the loss became NaN or infinite.
    """
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(order.seed)
    data, spec = order.data, order.spec
    model = network(spec, order.standard, data.target)
    model.compile(keras.optimizers.Adam(spec.learning_rate[0]), LOSSES[data.target.kind], jit_compile=False)
    scale = _scale(data)
    truth = scale.down(data.truth)
    weights = row_weights(data.target, data.truth, spec.class_weight)
    inside, outside = _split(data, order.seed)
    training = Batches(data.subset(inside), spec.batch, order.memory)
    stopping = Batches(data.subset(outside), 4096, order.memory // HELD_OUT)
    random = np.random.default_rng(order.seed)
    best, lowest, kept, epoch = 0, np.inf, model.get_weights(), 0
    for epoch in range(1, spec.epochs + 1):
        for x, places in training.epoch(random):
            rows = inside[places]
            model.train_on_batch(x, truth[rows], None if weights is None else weights[rows])
        loss = _loss(model, order, stopping, truth[outside], None if weights is None else weights[outside])
        if not np.isfinite(loss):
            raise NoNumberError(f"in epoch {epoch}")
        if loss < lowest:
            best, lowest, kept = epoch, loss, model.get_weights()
        say({"epoch": epoch, "of": spec.epochs, "loss": loss})
        if epoch - best >= spec.patience:
            break
    if not all(np.isfinite(each).all() for each in kept):
        raise NoNumberError(f"in epoch {epoch}")
    model.set_weights(kept)
    scale.undo(model)
    plain = network(spec, order.standard, data.target)  # without the optimiser
    plain.set_weights(model.get_weights())
    return Fitted(saved(plain), epoch, best, float(lowest))


def network(spec: MlpSpec, standard: Standard, target: Target) -> Any:
    """Features as stored → outputs: standardisation, hidden layers with ReLU and dropout, the output layer."""
    import keras

    layers = keras.layers
    first = [layers.Input((len(standard.mean),), name="features"), layers.Normalization(name="standard")]
    model = keras.Sequential(first, name="mlp")
    for number, width in enumerate(spec.widths[0], 1):
        model.add(layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=f"hidden_{number}"))
        if spec.dropout[0]:
            model.add(layers.Dropout(spec.dropout[0], name=f"dropout_{number}"))
    model.add(layers.Dense(target.outputs, activation=ACTIVATIONS[target.kind], name="outputs"))
    normalisation = model.layers[0]
    normalisation.set_weights([standard.mean, np.square(standard.deviation), np.zeros((), np.int32)])
    normalisation.finalize_state()
    return model


def _split(data: TrainingData, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places to train on and to stop by: a stratified tenth, and never all rows of a class. Of a single row both are that row."""
    out = folds_of(data.target, data.truth, HELD_OUT, seed) == 0
    if data.target.kind == "classes":
        out &= np.bincount(data.truth, minlength=data.target.outputs)[data.truth] > 1
    inside, outside = np.flatnonzero(~out), np.flatnonzero(out)
    return (inside if len(inside) else outside), (outside if len(outside) else inside)


def _loss(model: Any, order: Order, batches: Batches, truth: Truth, weights: NDArray[np.float32] | None) -> float:
    """On the held-out rows, computed without Keras, which would compile another function for it."""
    found = [each for layer in model.layers if layer.name != "standard" for each in [layer.get_weights()] if each]
    layers, target = DenseLayers(order.standard, [(kernel, bias) for kernel, bias in found]), order.data.target
    total = 0.0
    with np.errstate(all="ignore"):  # numbers that grew beyond all bounds are told from the sum
        for x, places in batches.in_order():
            losses = losses_of(target, truth[places], layers.outputs(x, target))
            total += float((losses if weights is None else losses * weights[places]).sum())
    return total / len(truth)


@dataclass(frozen=True)
class _Scale:
    """What values of a regression are standardised by while the network learns them."""

    mean: float = 0.0
    deviation: float = 1.0
    values: bool = False

    def down(self, truth: Truth) -> Truth:
        return ((truth.reshape(len(truth), 1) - self.mean) / self.deviation).astype(np.float32) if self.values else truth

    def undo(self, model: Any) -> None:
        """Let the output layer give values in their own unit."""
        if self.values:
            kernel, bias = model.layers[-1].get_weights()
            model.layers[-1].set_weights([kernel * self.deviation, bias * self.deviation + self.mean])


def _scale(data: TrainingData) -> _Scale:
    if data.target.kind != "regression":
        return _Scale()
    return _Scale(float(data.truth.mean()), float(data.truth.std()) or 1.0, values=True)


def main() -> None:
    """Orders one after the other, until none has come for a while or the one who gives them is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # TensorFlow's chatter
    from trunkline.backbones.importing import import_keras

    import_keras()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    with contextlib.suppress(EOFError, BrokenPipeError):  # the one who gives orders is gone
        while select.select([0], [], [], float(sys.argv[1]))[0]:
            size = int.from_bytes(_exactly(8), "little")
            order: Order = pickle.loads(_exactly(size))
            _answer(answers, order)


def _answer(answers: BinaryIO, order: Order) -> None:
    def say(said: dict[str, Any], content: bytes = b"") -> None:
        answers.write(json.dumps({**said, "bytes": len(content)}).encode() + b"\n" + content)
        answers.flush()

    try:
        done = fitted(order, say)
    except NoNumberError as error:
        say({"diverged": str(error)})
        return
    say({"done": {"epochs": done.epochs, "best": done.best, "loss": done.loss}}, done.content)


def _exactly(count: int) -> bytearray:
    """So many bytes of the standard input, past Python's own buffer, which `select` does not see. Raises EOFError where it ends."""
    found = bytearray()
    while len(found) < count:
        piece = os.read(0, min(count - len(found), 1 << 20))
        if not piece:
            raise EOFError
        found += piece
    return found


if __name__ == "__main__":
    main()
