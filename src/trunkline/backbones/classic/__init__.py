"""The classic zoo that transfer-learning texts name: LeNet-5, AlexNet, OverFeat (fast), GoogLeNet, PReLU-net.

One file a network, each after its paper and out of Keras's own layers only, so that a saved network opens without trunkline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trunkline.backbones.backbone import Backbone
from trunkline.backbones.classic import alexnet, googlenet, lenet, overfeat, prelu_net
from trunkline.backbones.classic.checkpoint import Checkpoint
from trunkline.errors import BackboneError

BACKBONES: tuple[Backbone, ...] = (lenet.BACKBONE, alexnet.BACKBONE, overfeat.BACKBONE, googlenet.BACKBONE, prelu_net.BACKBONE)

_BUILD: Mapping[str, Callable[[int], Any]] = {
    lenet.BACKBONE.name: lenet.build,
    alexnet.BACKBONE.name: alexnet.build,
    overfeat.BACKBONE.name: overfeat.build,
    googlenet.BACKBONE.name: googlenet.build,
    prelu_net.BACKBONE.name: prelu_net.build,
}
_FILL: Mapping[str, Callable[[Any, Checkpoint], None]] = {
    alexnet.BACKBONE.name: alexnet.fill,
    googlenet.BACKBONE.name: googlenet.fill,
}


def build(name: str, size: int) -> Any:
    """The whole network, untrained.

    Parameters
    ----------
    name : of one of `BACKBONES`.
    size : side of the input in pixels.

    Returns
    -------
    keras.Model from (n, size, size, 3) float32, normalised, to class probabilities: (n, 10) of LeNet-5, else (n, 1000).

    Raises
    ------
    BackboneError : the network does not take images of this size.
    """
    return _BUILD[name](size)


def load_weights(model: Any, name: str, path: Path) -> None:
    """Fill a built network: AlexNet and GoogLeNet from a PyTorch checkpoint with torchvision's keys, the others from Keras's file.

    Raises
    ------
    BackboneError : the file cannot be read, or is of another network.
    """
    if name in _FILL:
        _FILL[name](model, Checkpoint.read(name, path))
        return
    try:
        model.load_weights(path)
    except Exception as error:  # Keras has an exception of another kind for each way in which a file can be wrong
        raise BackboneError(
            f"The weights file {path} does not fill {name} ({error}). Nobody publishes weights of {name}; it takes those that "
            f"Keras's model.save_weights wrote, NAME.weights.h5, of the network that trunkline.backbones.classic builds."
        ) from error
