"""The user's own Keras networks: whole models in `.keras` and `.h5`, not trusted, laid out flat so that they are cut anywhere inside."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trunkline.backbones.importing import import_keras
from trunkline.backbones.own_keras_files import checked_config, write_archive
from trunkline.errors import BackboneError

MAX_VALUES = 1 << 28  # of one activation: 1 GiB in float32
_CLASSIFIER_TAIL = {"Activation", "Softmax", "Dropout", "ActivityRegularization"}


def load(path: Path, size: int | None = None) -> Any:
    """The whole network.

    Parameters
    ----------
    path : a `.keras` or `.h5` file of a whole model, sequential or functional; models inside it are laid out flat.
    size : side of the images; None where it does not matter yet.

    Returns
    -------
    keras.Model, functional, from (n, height, width, 3); each layer is found by `get_layer(name)`, and where an inner model has one of the
    same name as another, by `get_layer("inner.name")`.

    Raises
    ------
    BackboneError : no such model, weights alone, not an image network, or a file that asks for more than layers and numbers.
    """
    config = checked_config(path)
    keras = import_keras()
    try:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder, f"network{path.suffix.lower()}")  # Keras goes by the ending, in small letters
            if here.suffix == ".keras":
                write_archive(path, config, here)
            else:
                here.symlink_to(path.resolve())
            _refuse_hollow(keras, path, config)
            loaded = keras.models.load_model(here, compile=False, safe_mode=True)
            whole = _flat(keras, loaded, path, size)
    except BackboneError:
        raise
    except Exception as error:  # Keras raises whatever its layers raise
        raise BackboneError(
            f"Keras cannot load {path} ({type(error).__name__}: {_short(error)}). Save it again as .keras with Keras 3, or "
            "export it to ONNX."
        ) from error
    _refuse_large(whole, path)
    return whole


def default_cut(whole: Any) -> str:
    """The layer before the last dense one, where nothing but activations and dropout follows that; else the last layer."""
    found = [(layer.name, type(layer).__name__) for layer in whole.layers]
    end = len(found)
    while end and found[end - 1][1] in _CLASSIFIER_TAIL:
        end -= 1
    if not end or found[end - 1][1] != "Dense":
        return str(found[-1][0])
    end -= 1
    while end and found[end - 1][1] == "Dropout":
        end -= 1
    return str(found[max(end, 1) - 1][0])


def _refuse_hollow(keras: Any, path: Path, config: dict[str, Any]) -> None:
    """Build it without memory first: a configuration may ask for more parameters than the file holds, and Keras would allocate them."""
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("uninitialized_variables", [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = _from_config(keras, path, config)
    finally:
        global_state.set_global_attribute("uninitialized_variables", before)
    asked = sum(math.prod(weight.shape) for weight in model.weights)
    held = path.stat().st_size
    if asked > held:  # at least a byte a parameter
        raise BackboneError(
            f"The network in {path} asks for {asked:,} parameters, and the file has {held:,} bytes. It is refused, as it "
            "would fill the memory."
        )


def _from_config(keras: Any, path: Path, config: dict[str, Any]) -> Any:
    if path.suffix.lower() == ".keras":
        return keras.saving.deserialize_keras_object(config, safe_mode=True)
    from keras.src.legacy.saving import json_utils, saving_options, saving_utils
    from keras.src.saving import serialization_lib

    with saving_options.keras_option_scope(use_legacy_config=True), serialization_lib.SafeModeScope(True):
        return saving_utils.model_from_config(json_utils.decode(json.dumps(config)), custom_objects={})


def _flat(keras: Any, loaded: Any, path: Path, size: int | None) -> Any:
    """A functional model over copies of all layers, those of inner models among them, that takes any number of images."""
    shapes = [tuple(each.shape) for each in loaded.inputs or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3:
        raise BackboneError(
            f"{path} is no image network: it should have one input (n, height, width, 3), its inputs are "
            f"{shapes or 'not known'}."
        )
    height, width = shapes[0][1:3]
    if size is not None and (height not in (None, size) or width not in (None, size)):
        raise BackboneError(
            f"{path} takes images of {height} x {width} pixels, not {size} x {size}. Write its own size into the YAML."
        )
    wanted = (None, size or height, size or width, 3)
    if not any(isinstance(layer, keras.Model) for layer in loaded.layers) and shapes[0] == wanted:
        return keras.Model(loaded.inputs[0], loaded.outputs)
    return _Flattening(keras).of(loaded, wanted)


class _Flattening:
    """Runs a model's graph over copies of its layers, and graphs inside it likewise; a layer used twice is copied once."""

    def __init__(self, keras: Any) -> None:
        self.keras = keras
        self.copies: dict[int, Any] = {}
        self.names: dict[int, str] = {}

    def of(self, loaded: Any, shape: Sequence[int | None]) -> Any:
        taken: set[str] = set()
        for layer, name in _inner(self.keras, loaded, ""):
            self.names[id(layer)] = _free(name, taken)
        pixels = self.keras.Input(
            shape[1:], dtype=loaded.inputs[0].dtype, name="pixels" if "pixels" not in taken else "pixels-in"
        )
        return self.keras.Model(pixels, self._run(loaded, [pixels]))

    def _run(self, model: Any, inputs: list[Any]) -> Any:
        graph = self.keras.Model(model.inputs, model.outputs)
        return graph._run_through_graph(inputs, operation_fn=self._copy, call_fn=self._call)

    def _copy(self, operation: Any) -> Any:
        if isinstance(operation, self.keras.Model):
            return operation
        if id(operation) not in self.copies:
            config = operation.get_config()
            if id(operation) in self.names:
                config["name"] = self.names[id(operation)]
            self.copies[id(operation)] = (type(operation).from_config(config), operation)
        return self.copies[id(operation)][0]

    def _call(self, operation: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(operation, self.keras.Model):
            outputs = self._run(operation, self.keras.tree.flatten(arguments))
            return outputs[0] if len(outputs) == 1 else outputs
        outputs = operation(*arguments, **options)
        if isinstance(operation, self.keras.Layer):
            source = next(old for copy, old in self.copies.values() if copy is operation)
            operation.set_weights(source.get_weights())
            if hasattr(operation, "finalize_state"):  # Normalization computes with what it derived from its weights
                operation.finalize_state()
        return outputs


def _inner(keras: Any, model: Any, prefix: str) -> Iterator[tuple[Any, str]]:
    for layer in _operations(model):
        if isinstance(layer, keras.Model):
            yield from _inner(keras, layer, f"{layer.name}.")
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer, f"{prefix}{layer.name}"


def _operations(model: Any) -> list[Any]:
    """Layers, and what was written as arithmetic on tensors; a sequential model has layers only."""
    return list(getattr(model, "operations", None) or model.layers)


def _free(full: str, taken: set[str]) -> str:
    """The layer's own name if no other has it, else with its model's before it."""
    name = full.rsplit(".", 1)[-1] if full.rsplit(".", 1)[-1] not in taken else full
    taken.add(name)
    return name


def _refuse_large(whole: Any, path: Path) -> None:
    for layer in _operations(whole):
        for output in layer.output if isinstance(layer.output, (list, tuple)) else [layer.output]:
            if (count := math.prod(length for length in output.shape[1:] if length)) > MAX_VALUES:
                raise BackboneError(
                    f"The layer {layer.name!r} of {path} makes {count:,} values of one image, more than {MAX_VALUES:,}. It "
                    "is refused, as it would fill the "
                    "memory."
                )


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
