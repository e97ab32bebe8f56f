"""A head that is linear in standardised features: softmax, SVM, ridge and nearest centroid end as one; saved as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.heads.protocol import Candidate, Features
from trunkline.heads.standard import Standard

Matrix = NDArray[np.float64]
Activation = Literal["softmax", "sigmoid", "identity"]
FILE = "linear.safetensors"


@dataclass(frozen=True)
class LinearHead:
    """Outputs are `activation(((x − mean) / deviation) @ weights[:-1] + weights[-1])`.

    Parameters
    ----------
    standard : mean and deviation, (kept,) float32 each.
    weights : (kept + 1, k) float64, the intercepts last.
    activation : softmax over classes, sigmoid a label, identity of values.
    """

    standard: Standard
    weights: Matrix
    activation: Activation
    chosen: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    candidates: Sequence[Candidate] = ()

    def __post_init__(self) -> None:
        # safetensors writes memory as it lies; and in one order the products have the same last bits after loading
        object.__setattr__(self, "weights", np.ascontiguousarray(self.weights, np.float64))

    def outputs(self, features: Features) -> Matrix:
        return activated(self.standard(features) @ self.weights[:-1] + self.weights[-1], self.activation)

    def files(self) -> dict[str, bytes]:
        from safetensors.numpy import save

        arrays = {"mean": self.standard.mean, "deviation": self.standard.deviation, "weights": self.weights}
        return {FILE: save(arrays, {"activation": self.activation})}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> LinearHead:
        """Raises CorruptStore for a file that holds something else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        content = files[FILE]
        try:
            arrays = load(content)
            said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            head = cls(Standard(arrays["mean"], arrays["deviation"]), arrays["weights"], said["activation"])
            sound = head.weights.shape[0] == len(head.standard.mean) + 1 == len(head.standard.deviation) + 1
            if not sound or head.activation not in get_args(Activation) or not np.isfinite(head.weights).all():
                raise ValueError("arrays that do not fit together")
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
            raise CorruptStore(
                f"{FILE} of the saved head is damaged ({error}). Delete the head: it is fitted again."
            ) from error
        return head


def activated(scores: Matrix, activation: Activation) -> Matrix:
    """(n, k) → (n, k) float64."""
    match activation:
        case "softmax":
            scores = scores - scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            return np.asarray(scores / scores.sum(axis=1, keepdims=True))
        case "sigmoid":
            return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scores)))
        case "identity":
            return scores
