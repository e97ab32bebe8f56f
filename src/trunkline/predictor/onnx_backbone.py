"""The user's own ONNX network between pixels and features, as one graph: normalised before it, pooled after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trunkline.backbones import onnx_network, own
from trunkline.backbones.backbone import Normalisation
from trunkline.backbones.onnx_cut import GEM_FLOOR, GEM_POWER, channels_first
from trunkline.backbones.onnx_files import import_onnx
from trunkline.backbones.weights import cache_folder
from trunkline.errors import BackboneError, SpecError
from trunkline.predictor.keras_layers import reduced
from trunkline.predictor.onnx_graph import OPSET, Graph, Value
from trunkline.specs import Recipe

INSIDE = "network/"


def features_of_onnx(recipe: Recipe, layer: str, uri: str | None) -> bytes:
    """An ONNX model from `pixels` (n, size, size, 3) to `features` (n, dim).

    Parameters
    ----------
    layer : of the recipe.
    uri : the file that the features were extracted with, its YAML beside it.

    Raises
    ------
    SpecError : no file given, or not the one that the recipe names.
    BackboneError : the file cannot be read, or needs another opset.
    """
    if uri is None:
        raise SpecError(
            f"The backbone {recipe.backbone} came as an ONNX file, of which the store holds only what was compiled. Give the file: "
            f"--backbone {recipe.backbone}."
        )
    described, path = own.describe(uri), own.fetch(uri, cache_folder("own"))
    if own.digest(path) != recipe.weights or str(described.normalisation) != recipe.normalisation:
        raise SpecError(
            f"{uri} is not the file, or its YAML not the normalisation, that these features were extracted with (SHA-256 {recipe.weights}, "
            f"{recipe.normalisation}). Give the same file."
        )
    cut = onnx_network.truncated(path, layer, recipe.size)
    model = _of_known_opset(path, cut.model)
    graph = Graph()
    graph.opset = next(each.version for each in model.opset_import if not each.domain)
    pixels = _normalised(graph, recipe, described.normalisation, cut.image)
    inner = _inserted(graph, model, cut.image.name, pixels)
    features = _pooled(graph, inner, cut.shape, recipe.pooling)
    if recipe.dtype == "float16":
        features = graph.floats(graph.cast(features, "float16"))
    graph.node("Identity", [graph.last(features)], "features")
    content: bytes = graph.model("features", ["images", *features.shape], {}).SerializeToString()
    return content


def _of_known_opset(path: Path, model: Any) -> Any:
    """The model, of opset 17 at least; newer ones stay."""
    onnx = import_onnx()
    version = next(each.version for each in model.opset_import if not each.domain)
    if version >= OPSET:
        return model
    try:
        from onnx import version_converter

        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError, and what its parts raise
        words = " ".join(str(error).split())[:300]
        raise BackboneError(
            f"{path} is of opset {version}, and cannot be brought to {OPSET}, which the predictor needs: {words}. Export it again with a "
            f"newer opset (onnx {onnx.__version__} is here)."
        ) from error


def _normalised(graph: Graph, recipe: Recipe, normalisation: Normalisation, image: Any) -> str:
    """The pixels as the network takes them."""
    shape = (recipe.size, recipe.size, 3)
    value = Value(shape, graph.input("pixels", ["images", *shape], recipe.pixels), dtype=recipe.pixels)
    value = graph.floats(value)
    if normalisation.channels == "bgr":
        turned = graph.constant(np.array([2, 1, 0], np.int64), "bgr")
        value = Value(shape, graph.node("Gather", [value.last, turned], "bgr", axis=-1))
    for kind, numbers, neutral in (("Sub", normalisation.mean, 0), ("Div", normalisation.deviation, 1)):
        if np.any(np.asarray(numbers) != neutral):
            value = graph.by_channel(value, kind, np.asarray(numbers), "normalised")
    tensor = graph.first(value) if image.channels_first else value.last
    if image.dtype == "float16":
        tensor = graph.node("Cast", [tensor], "half", to=graph.onnx.TensorProto.FLOAT16)
    return tensor


def _inserted(graph: Graph, model: Any, image: str, pixels: str) -> str:
    """The network's nodes and constants, their names under `network/`; the name of its output."""
    onnx = import_onnx()
    renamed = onnx.compose.add_prefix(model, INSIDE)
    for node in renamed.graph.node:
        for place, name in enumerate(node.input):
            if name == f"{INSIDE}{image}":
                node.input[place] = pixels
    graph.nodes += list(renamed.graph.node)
    graph.constants += list(renamed.graph.initializer)
    output = renamed.graph.output[0]
    half = graph.onnx.TensorProto.FLOAT16
    name = str(output.name)
    if output.type.tensor_type.elem_type == half or model.graph.input[0].type.tensor_type.elem_type == half:
        return graph.node("Cast", [name], "single", to=graph.onnx.TensorProto.FLOAT)
    return name


def _pooled(graph: Graph, tensor: str, shape: tuple[int, ...], pooling: str) -> Value:
    """As `onnx_cut.pooled`."""
    first = channels_first(shape)
    value = Value((*shape[1:], shape[0]), first=tensor) if first else Value(shape, tensor)
    if len(shape) == 1:
        return value
    if pooling == "none":
        count = int(np.prod(shape))
        flat = graph.constant([0, count], "flat")
        return Value((count,), graph.node("Reshape", [graph.last(value), flat], "pooled"))
    if pooling == "gem":
        value = graph.each(value, "Max", [graph.constant(GEM_FLOOR)], "powers")
        value = graph.each(value, "Pow", [graph.constant(GEM_POWER)], "powers")
        mean = reduced(graph, "ReduceMean", value, keep=False, base="pooled")
        return graph.each(mean, "Pow", [graph.constant(1.0 / GEM_POWER)], "pooled")
    return reduced(graph, "ReduceMax" if pooling == "max" else "ReduceMean", value, keep=False, base="pooled")
