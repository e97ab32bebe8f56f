"""Build a backbone in a process of its own, so that TensorFlow's gigabyte and its chatter leave with it.

`python -m trunkline.backbones.compilation compile ORDER_JSON FOLDER`, or `layers NETWORK_JSON FOLDER`; the answer is
`FOLDER/said.json`. On a user's mistake the message goes to stdout and the exit status is 2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.backbone import Backbone, Layer
from trunkline.backbones.golden import golden_pixels, in_batches
from trunkline.errors import BackboneError, RunError
from trunkline.specs import Recipe, Spec


class Network(Spec):
    """A backbone with its weights, at a size in pixels: `weights` is a local file, None for random ones."""

    backbone: Backbone
    weights: Path | None
    size: int

    @property
    def onnx(self) -> Path | None:
        """The ONNX file, where it is one."""
        return self.weights if self.backbone.name.lower().endswith(".onnx") else None


class Order(Spec):
    """What to compile; `batch` None lets the network's maps decide."""

    network: Network
    recipe: Recipe
    batch: int | None = None


@dataclass(frozen=True)
class Cuts:
    """Where a network can be cut: its layers in order, the one it is cut at by default, its parameters; 0 where they are not known."""

    layers: list[Layer]
    cut: str
    parameters: int

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Cuts:
        layers = [Layer(each["name"], each["kind"], tuple(each["shape"])) for each in said["layers"]]
        return cls(layers, said["cut"], said["parameters"])


def in_its_own_process(action: str, order: Order | Network, folder: Path) -> dict[str, Any]:
    """Run an action; what it says. Raises BackboneError for a user's mistake, RunError for ours."""
    command = [sys.executable, "-m", "trunkline.backbones.compilation", action, order.model_dump_json(), str(folder)]
    on_the_processor = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # the reference is exact, and leaves GPUs to the workers
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=on_the_processor)
    if ended.returncode == BackboneError.exit_code:
        raise BackboneError(ended.stdout.strip().rsplit("\n", 1)[-1])
    if ended.returncode:
        network = order.network if isinstance(order, Order) else order
        raise RunError(
            f"Building {network.backbone.name} failed (exit status {ended.returncode}): {ended.stderr.strip()[-2000:]} "
            "Nothing was extracted. Where memory ran out, a smaller engine.batch needs less."
        )
    said: dict[str, Any] = json.loads((folder / "said.json").read_text())
    return said


def compile_backbone(order: Order, folder: Path) -> dict[str, Any]:
    """Write `model.xml` and `model.bin` (OpenVINO IR, float32), `golden.npz` and, of Keras networks, `model.keras`.

    Raises
    ------
    BackboneError : no such layer, weights of another network, or a file that cannot be trusted.
    """
    onnx = order.network.onnx
    said, golden = _compile_onnx(order, onnx, folder) if onnx else _compile_keras(order, folder)
    np.savez(folder / "golden.npz", allow_pickle=False, **golden)
    return said


def cuts(ordered: Network) -> Cuts:
    """Where a network can be cut."""
    from trunkline.backbones import network, onnx_network, own_keras

    if ordered.onnx:
        found = onnx_network.layers(ordered.onnx, ordered.size)
        return Cuts(found, onnx_network.default_cut(ordered.onnx, ordered.size), 0)
    model = network.whole(ordered.backbone, ordered.weights, ordered.size)
    return Cuts(network.layers(model), ordered.backbone.cut or own_keras.default_cut(model), model.count_params())


def _compile_keras(order: Order, folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    from trunkline.backbones import network

    recipe, backbone = order.recipe, order.network.backbone
    whole = network.whole(backbone, order.network.weights, recipe.size)
    batch = order.batch or network.batch_for(network.layers(whole))
    model = network.truncated(whole, recipe, backbone.normalisation, batch)
    import openvino
    import tensorflow as tf

    signature = tf.TensorSpec((batch, recipe.size, recipe.size, 3), recipe.pixels, name="pixels")
    function = tf.function(lambda pixels: model(pixels, training=False), input_signature=[signature])
    golden = in_batches(function, golden_pixels(recipe.size, batch).astype(recipe.pixels), batch)
    _refuse_what_is_not_finite(golden, backbone)
    # half-precision weights are OpenVINO's default; they would move every feature
    openvino.save_model(openvino.convert_model(function.get_concrete_function()), folder / "model.xml", compress_to_fp16=False)
    if recipe.precision == "mixed_float16":
        model = _in_mixed_float16(order, batch, model)
    model.save(folder / "model.keras")
    said = {
        "batch": batch,
        "shapes": network.shapes(model, recipe),
        "multiply_accumulates": network.multiply_accumulates(model),
    }
    return said, golden


def _in_mixed_float16(order: Order, batch: int, reference: Any) -> Any:
    """The same network with half-precision arithmetic; its weights stay float32."""
    from trunkline.backbones import network
    from trunkline.backbones.importing import import_keras

    keras = import_keras()
    keras.config.set_dtype_policy("mixed_float16")
    whole = network.whole(order.network.backbone, order.network.weights, order.recipe.size)
    model = network.truncated(whole, order.recipe, order.network.backbone.normalisation, batch)
    model.set_weights(reference.get_weights())
    return model


def _compile_onnx(order: Order, path: Path, folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    from trunkline.backbones import network, onnx_network

    recipe, backbone = order.recipe, order.network.backbone
    batch = order.batch or network.batch_for(onnx_network.layers(path, recipe.size))
    made = onnx_network.compile_onnx(
        path,
        size=recipe.size,
        batch=batch,
        normalisation=backbone.normalisation,
        pixels=recipe.pixels,
        layers=recipe.layers,
        pooling=recipe.pooling,
        maps=recipe.maps,
        golden=golden_pixels(recipe.size, batch),
        folder=folder,
    )
    _refuse_what_is_not_finite(made.golden, backbone)
    said = {"batch": batch, "shapes": made.shapes, "multiply_accumulates": made.multiply_accumulates}
    return said, dict(made.golden)


def _refuse_what_is_not_finite(golden: Mapping[str, NDArray[np.float32]], backbone: Backbone) -> None:
    bad = [layer for layer, values in golden.items() if not np.isfinite(values).all()]
    if bad:
        raise BackboneError(
            f"{backbone.name} gives infinity or NaN at {', '.join(bad)} on the golden images, so every feature would be worthless. "
            "Is the weights file damaged, or the normalisation another network's?"
        )


def main() -> None:
    action, ordered, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    try:
        if action == "compile":
            said = compile_backbone(Order.model_validate_json(ordered), folder)
        else:
            said = asdict(cuts(Network.model_validate_json(ordered)))
    except BackboneError as error:
        sys.stdout.write(" ".join(str(error).split()))
        sys.exit(error.exit_code)
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
