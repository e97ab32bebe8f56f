"""What needs Keras is made in a process of its own, so that TensorFlow's gigabyte and its chatter leave with it.

`python -m trunkline.predictor.making ORDER_JSON FOLDER`: the folder holds `backbone.keras`, `pixels.npy`, and `chain.npz` where the head
is dense layers; the process adds `features.onnx`, and `predictor.keras` with `answers.npy`, what that file says of the pixels once it is
loaded again. On a user's mistake the message goes to stdout and the exit status is 2.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.importing import import_keras
from trunkline.errors import BackboneError, RunError
from trunkline.predictor.dense_chain import DenseLayer
from trunkline.predictor.keras_file import features_model, with_head
from trunkline.predictor.keras_to_onnx import converted
from trunkline.predictor.onnx_graph import Graph, Value
from trunkline.specs import Spec

IMAGES_AT_ONCE = 8


class Making(Spec):
    """What to make of a compiled backbone: of one layer, pooled and rounded as the recipe says."""

    layer: str
    pooling: str
    dtype: str
    activations: tuple[str, ...] = ()


def made_in_its_own_process(
    order: Making, backbone: bytes, chain: Sequence[DenseLayer], pixels: NDArray[Any], folder: Path
) -> None:
    """Make the files. Raises BackboneError for a layer that cannot be written as ONNX, RunError for what is our fault."""
    (folder / "backbone.keras").write_bytes(backbone)
    np.save(folder / "pixels.npy", pixels, allow_pickle=False)
    if chain:
        arrays = {f"{name}{number}": getattr(each, name) for number, each in enumerate(chain) for name in ("weights", "bias")}
        np.savez(folder / "chain.npz", allow_pickle=False, **arrays)
    order = order.model_copy(update={"activations": tuple(each.activation for each in chain)})
    command = [sys.executable, "-m", "trunkline.predictor.making", order.model_dump_json(), str(folder)]
    on_the_processor = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # as the reference was computed
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=on_the_processor)
    if ended.returncode == BackboneError.exit_code:
        raise BackboneError(ended.stdout.strip().rsplit("\n", 1)[-1])
    if ended.returncode:
        raise RunError(
            f"Making the predictor's files failed (exit status {ended.returncode}): {ended.stderr.strip()[-2000:]} Nothing was exported."
        )


def make(order: Making, folder: Path) -> None:
    """The files, in this process."""
    keras = import_keras()
    features = features_model(folder / "backbone.keras", order.layer, order.pooling, order.dtype)
    (folder / "features.onnx").write_bytes(_onnx_of(features))
    if not order.activations:
        return
    with np.load(folder / "chain.npz", allow_pickle=False) as stored:
        chain = [DenseLayer(stored[f"weights{n}"], stored[f"bias{n}"], each) for n, each in enumerate(order.activations)]
    with_head(features, chain).save(folder / "predictor.keras")
    loaded = keras.models.load_model(folder / "predictor.keras", compile=False)
    pixels = np.load(folder / "pixels.npy", allow_pickle=False)
    parts = [loaded(pixels[at : at + IMAGES_AT_ONCE], training=False) for at in range(0, len(pixels), IMAGES_AT_ONCE)]
    np.save(folder / "answers.npy", np.concatenate([np.asarray(part) for part in parts]), allow_pickle=False)


def _onnx_of(features: Any) -> bytes:
    """From `pixels` (n, size, size, 3) to `features` (n, dim)."""
    graph = Graph()
    (pixels,) = features.inputs
    shape = tuple(pixels.shape[1:])
    value = Value(shape, graph.input("pixels", ["images", *shape], pixels.dtype), dtype=pixels.dtype)
    (found,) = converted(graph, features, [value])
    graph.node("Identity", [graph.last(graph.floats(found))], "features")
    content: bytes = graph.model("features", ["images", *found.shape], {}).SerializeToString()
    return content


def main() -> None:
    try:
        make(Making.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
    except BackboneError as error:
        sys.stdout.write(" ".join(str(error).split()))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
