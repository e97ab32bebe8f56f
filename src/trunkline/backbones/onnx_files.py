"""ONNX files read as what they are, other people's: nothing but plain operators on tensors, and data only from beside the file.

An ONNX file is a protobuf and may name files that hold its tensors. Such a name is a path that the loader follows, so it is checked
here, before anything else sees the file. Operators of other domains, control flow, sparse tensors and random numbers are refused.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.errors import BackboneError

MAX_FILE_BYTES = (2 << 30) - 1  # protobuf's own limit
MAX_NODES = 100_000
MAX_VALUES = 1 << 28  # of one activation: 1 GiB in float32
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


@dataclass(frozen=True)
class ImageInput:
    """The one input of a network: (batch, 3, height, width) where `channels_first`, else (batch, height, width, 3); None is any length."""

    name: str
    channels_first: bool
    batch: int | None
    height: int | None
    width: int | None
    dtype: str


def import_onnx() -> Any:
    """The package onnx. Raises BackboneError where it is not installed."""
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError as error:
        raise BackboneError(
            f"ONNX networks need packages that are not here ({error}): pip install 'trunkline[onnx]'."
        ) from error
    return onnx


def read(path: Path) -> Any:
    """The checked model, an onnx.ModelProto whose data files stay where they are.

    Raises
    ------
    BackboneError : no valid ONNX file, or it holds what no image network needs.
    """
    onnx = import_onnx()
    model = _parsed(onnx, path)
    _refuse_what_is_not_plain(onnx, path, model)
    for name in _data_names(onnx, path, model):
        _check_data_file(path, name)
    _check_data_ranges(onnx, path, model)
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise BackboneError(f"{path} is not a valid ONNX network: {_short(error)}. Export it again.") from error
    return model


def data_files(path: Path) -> list[str]:
    """Sorted names of the files beside `path` that hold its tensors. Raises BackboneError for a name that leads anywhere else."""
    onnx = import_onnx()
    return _data_names(onnx, path, _parsed(onnx, path))


def image_input(path: Path, model: Any, size: int) -> ImageInput:
    """The network's one input, which must be a square image of `size`. Raises BackboneError with the shapes."""
    onnx = import_onnx()
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    shapes = ", ".join(f"{each.name} {_dims_in_words(each)}" for each in inputs) or "none"
    dims = [_fixed(dim) for dim in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(dims) != 4 or 3 not in (dims[1], dims[3]):
        raise BackboneError(
            f"{path} is no image network: it should have one input (batch, 3, height, width) or (batch, height, width, 3), "
            f"its inputs are: {shapes}."
        )
    dtype = onnx.TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type).lower()
    if dtype not in ("float", "float16"):
        raise BackboneError(f"{path} takes {dtype} images; only float and float16 are taken. Export it with a float input.")
    height, width = dims[2:] if (first := dims[1] == 3) else dims[1:3]
    if height not in (None, size) or width not in (None, size):
        raise BackboneError(
            f"{path} takes images of {height} x {width} pixels (its input is {shapes}), not {size} x {size}. Write its own "
            "size into the YAML, or "
            "export it with that size."
        )
    return ImageInput(inputs[0].name, first, dims[0], height, width, dtype)


def refuse_bombs(path: Path, model: Any, image: ImageInput, size: int) -> Any:
    """The model with shapes inferred for one image; BackboneError where an activation would not fit into 1 GiB."""
    onnx = import_onnx()
    known = type(model)()
    known.CopyFrom(model)
    set_input_shape(known, image, batch=image.batch or 1, size=size)
    try:
        known = onnx.shape_inference.infer_shapes(known, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise BackboneError(f"The shapes and types in {path} do not fit together: {_short(error)}. Export it again.") from error
    for value in (*known.graph.value_info, *known.graph.output):
        dims = [_fixed(dim) for dim in value.type.tensor_type.shape.dim]
        if (count := math.prod(dim for dim in dims if dim)) > MAX_VALUES * (image.batch or 1):
            raise BackboneError(
                f"{path} makes a tensor {value.name!r} of {count:,} values for one image, more than {MAX_VALUES:,}. It is "
                "refused, as it would "
                "fill the memory; if it is a real network, take a smaller size."
            )
    return known


def set_input_shape(model: Any, image: ImageInput, batch: int | None, size: int) -> None:
    """Fix the input's shape in place; without a batch it is any. Shapes that were written for another one go."""
    entry = next(each for each in model.graph.input if each.name == image.name)
    dims = [batch, 3, size, size] if image.channels_first else [batch, size, size, 3]
    for dim, length in zip(entry.type.tensor_type.shape.dim, dims, strict=True):
        if length is None:
            dim.dim_param = "batch"
        else:
            dim.dim_value = length
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def write_beside_data(model: Any, path: Path, folder: Path) -> Path:
    """Write the model into a folder, together with the data files of `path`; the folder must be empty."""
    onnx = import_onnx()
    for name in _data_names(onnx, path, model):
        shutil.copyfile(
            path.parent / name, folder / name
        )  # a link would make the original look like an attack to onnx' checker
    target = folder / "=network.onnx"  # no data file is named so
    target.write_bytes(model.SerializeToString())
    return target


def _parsed(onnx: Any, path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BackboneError(f"{path} has {size:,} bytes; an ONNX file ends at 2 GiB. Export it with external data.")
        content = path.read_bytes()
    except OSError as error:
        raise BackboneError(f"Cannot read the network {path}: {error.strerror}.") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's DecodeError is in a package of its own
        raise BackboneError(f"{path} is not an ONNX file, or is damaged ({_short(error)}).") from error
    if not model.graph.node:
        raise BackboneError(f"{path} is not an ONNX file, or is damaged (it holds no operators).")
    return model


def _refuse_what_is_not_plain(onnx: Any, path: Path, model: Any) -> None:
    nodes = model.graph.node
    if len(nodes) > MAX_NODES:
        raise BackboneError(f"{path} has {len(nodes):,} operators; at most {MAX_NODES:,} are taken.")
    if foreign := sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in ("", "ai.onnx")}):
        raise BackboneError(
            f"{path} uses operators outside the ONNX standard: {', '.join(foreign[:12])}. Their meaning is not in the file, "
            "so they are refused. "
            "Export it with standard operators only, before any tool has optimised it."
        )
    if model.functions:
        names = ", ".join(function.name for function in model.functions[:12])
        raise BackboneError(
            f"{path} defines functions of its own: {names}. Inline them (onnx.inliner.inline_local_functions) and save it "
            "again."
        )
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if branching := sorted({node.op_type for node in nodes if any(each.type in graphs for each in node.attribute)}):
        raise BackboneError(
            f"{path} has control flow ({', '.join(branching)}): its cost and its shapes depend on the data. Export it in "
            "evaluation mode with a fixed path."
        )
    if random := sorted({node.op_type for node in nodes if node.op_type in _RANDOM}):
        raise BackboneError(
            f"{path} draws random numbers ({', '.join(random)}): the same image would never give the same features twice."
        )
    if model.graph.sparse_initializer:
        raise BackboneError(f"{path} holds sparse tensors, which the runtimes do not share. Export it with dense ones.")
    tensors = (each for node in nodes for attribute in node.attribute for each in (attribute.t, *attribute.tensors))
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise BackboneError(
            f"An operator of {path} keeps its attribute in another file. Only weights may lie there; export it again."
        )


def _external(onnx: Any, model: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor, {entry.key: entry.value for entry in tensor.external_data}


def _data_names(onnx: Any, path: Path, model: Any) -> list[str]:
    names = {said.get("location", "") for _, said in _external(onnx, model)}
    for name in sorted(names):
        if not _PLAIN_NAME.fullmatch(name) or ".." in name or name == path.name:
            raise BackboneError(
                f"{path} says that its weights lie in {name!r}. Data files lie beside the network under a plain name "
                "(letters, digits, '.', '_', "
                "'-'); any other could read a file of yours, so it is refused."
            )
    return sorted(names)


def _check_data_file(path: Path, name: str) -> None:
    place = path.parent / name
    if not place.exists():
        raise BackboneError(f"{path} keeps weights in {name}, which is not beside it. Copy it to {place}.")
    if place.is_symlink() or not place.is_file():
        raise BackboneError(
            f"{place}, which holds weights of {path.name}, is a link or no file: it could lead anywhere. Copy the file "
            "itself there."
        )


def _check_data_ranges(onnx: Any, path: Path, model: Any) -> None:
    for tensor, said in _external(onnx, model):
        size = (path.parent / said["location"]).stat().st_size
        itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        needed = math.prod(tensor.dims) * itemsize
        try:
            offset, length = int(said.get("offset", "0")), int(said.get("length", str(needed)))
        except ValueError:
            offset = length = -1
        if min(offset, length, *tensor.dims) < 0 or length != needed or offset + length > size:
            raise BackboneError(
                f"The weights {tensor.name!r} of {path} should be {needed:,} bytes, and the file says {said}, of "
                f"{said['location']} with {size:,} bytes. "
                "One of the two files is damaged or of another export."
            )


def _fixed(dim: Any) -> int | None:
    return int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None


def _dims_in_words(value: Any) -> str:
    dims = value.type.tensor_type.shape.dim
    return "(" + ", ".join(str(_fixed(dim) or dim.dim_param or "any") for dim in dims) + ")"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
