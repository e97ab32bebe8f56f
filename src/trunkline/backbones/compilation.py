"""Compile a recipe's backbone into a folder: `python -m trunkline.backbones.compilation RECIPE_JSON FOLDER`.

Writes `model.xml` and `model.bin` (OpenVINO IR, float32), `model.keras`, `golden.npz` and `said.json`. On a user's mistake
the message goes to stdout and the exit status is 2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from trunkline.backbones.catalogue import BATCH
from trunkline.backbones.golden import golden_pixels
from trunkline.backbones.network import multiply_accumulates, truncated
from trunkline.errors import BackboneError
from trunkline.specs import Recipe


def compile_backbone(recipe: Recipe, folder: Path) -> None:
    """Raises BackboneError for an unknown backbone or layer, or weights that are not here."""
    model = truncated(recipe.backbone, recipe.layers, recipe.size)
    import openvino
    import tensorflow as tf

    signature = tf.TensorSpec((BATCH, recipe.size, recipe.size, 3), tf.uint8, name="pixels")
    function = tf.function(lambda pixels: model(pixels, training=False), input_signature=[signature])
    outputs = {layer: np.asarray(values) for layer, values in function(golden_pixels(recipe.size)).items()}
    np.savez(folder / "golden.npz", allow_pickle=False, **outputs)
    model.save(folder / "model.keras")
    # half-precision weights are OpenVINO's default; they would move every feature
    openvino.save_model(openvino.convert_model(function.get_concrete_function()), folder / "model.xml", compress_to_fp16=False)
    said = {
        "backbone": recipe.backbone,
        "size": recipe.size,
        "dims": {layer: values.shape[1] for layer, values in outputs.items()},
        "multiply_accumulates": multiply_accumulates(model),
    }
    (folder / "said.json").write_text(json.dumps(said))


def main() -> None:
    recipe, folder = Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    try:
        compile_backbone(recipe, folder)
    except BackboneError as error:
        sys.stdout.write(str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
