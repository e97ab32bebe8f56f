"""A checkpoint with torchvision's keys, each tensor taken once and checked against the Keras layer it goes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.torch_files import read_state_dict
from trunkline.errors import BackboneError, did_you_mean

MAX_NAMED = 3


class Checkpoint:
    """The tensors of one file and the network they should be of.

    Parameters
    ----------
    network : the backbone's name, for messages.
    tensors : key → array.
    """

    def __init__(self, network: str, tensors: dict[str, NDArray[Any]]) -> None:
        self.network = network
        self.tensors = tensors
        self.taken: set[str] = set()

    @classmethod
    def read(cls, network: str, path: Path) -> Checkpoint:
        """From a PyTorch file. Raises BackboneError where it is none."""
        return cls(network, read_state_dict(path))

    def take(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """One tensor. Raises BackboneError where it is missing or has another shape."""
        if key not in self.tensors:
            raise BackboneError(
                f"The weights file has no {key!r}, which {self.network} needs with shape {list(shape)}."
                f"{did_you_mean(key, self.tensors)} {self._advice()}"
            )
        if self.tensors[key].shape != shape:
            raise BackboneError(
                f"{key!r} of the weights file has shape {list(self.tensors[key].shape)}, and {self.network} needs "
                f"{list(shape)}. {self._advice()}"
            )
        self.taken.add(key)
        return self.tensors[key].astype(np.float32, copy=False)

    def convolution(self, layer: Any, key: str) -> None:
        """Fill a Conv2D: kernels go from (out, in, height, width) to (height, width, in, out)."""
        height, width, inputs, outputs = layer.kernel.shape
        values = [self.take(f"{key}.weight", (outputs, inputs, height, width)).transpose(2, 3, 1, 0)]
        layer.set_weights([*values, self.take(f"{key}.bias", (outputs,))] if layer.use_bias else values)

    def normalisation(self, layer: Any, key: str) -> None:
        """Fill a BatchNormalization: scale, shift, running mean, running variance."""
        shape = tuple(layer.gamma.shape)
        layer.set_weights([self.take(f"{key}.{part}", shape) for part in ("weight", "bias", "running_mean", "running_var")])

    def dense(self, layer: Any, key: str, map_shape: tuple[int, int, int] | None = None) -> None:
        """Fill a Dense layer: (out, in) becomes (in, out).

        `map_shape` is (height, width, channels) where the input is a flattened map: PyTorch flattens channels first, Keras last.
        """
        inputs, outputs = layer.kernel.shape
        matrix = self.take(f"{key}.weight", (outputs, inputs))
        if map_shape is not None:
            height, width, channels = map_shape
            matrix = matrix.reshape(outputs, channels, height, width).transpose(0, 2, 3, 1).reshape(outputs, inputs)
        layer.set_weights([matrix.T, self.take(f"{key}.bias", (outputs,))])

    def finish(self, *ignored: str) -> None:
        """Raises BackboneError where tensors are left over, but for those whose key starts with one of `ignored`."""
        left = [key for key in self.tensors if key not in self.taken and not key.endswith("num_batches_tracked")]
        left = [key for key in left if not key.startswith(ignored)]
        if left:
            named = ", ".join(map(repr, left[:MAX_NAMED])) + (" …" if len(left) > MAX_NAMED else "")
            raise BackboneError(
                f"The weights file has {len(left)} tensors that {self.network} does not know: {named}. {self._advice()}"
            )

    def _advice(self) -> str:
        return (
            f"It is not of torchvision's {self.network} with 1000 classes, and its features would mean nothing: give the checkpoint "
            "that torchvision publishes, or one with the same keys and shapes."
        )
