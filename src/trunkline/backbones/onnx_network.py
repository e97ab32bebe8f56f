"""The user's ONNX network: listed, cut and pooled, as OpenVINO IR; ONNX Runtime, which shares no code with it, is the reference.

The network is never run as it came: values that are wanted become outputs of a copy, and both runtimes read that copy. The
reference runs image by image, so a graph that mixes the images of a batch does not pass.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.backbone import Layer, Normalisation
from trunkline.backbones.golden import cosines, in_batches
from trunkline.backbones.onnx_cut import channels_last, cut, map_last, multiply_accumulates, normalised, pooled, row_shape
from trunkline.backbones.onnx_files import (
    ImageInput,
    image_input,
    import_onnx,
    read,
    refuse_bombs,
    set_input_shape,
    write_beside_data,
)
from trunkline.errors import BackboneError, did_you_mean

MAX_LISTED_LAYERS = 12
MIN_COSINE = 0.9999
_DATA_AT_0 = {"Gemm", "MatMul"}
_AFTER_CLASSIFIER = {"Softmax", "LogSoftmax", "Sigmoid", "Identity", "Cast", "Add"}
_BEFORE_CLASSIFIER = {"Dropout", "Identity", "Cast"}
_NO_FEATURES = {"Constant", "ConstantOfShape", "Shape", "Size", "Range"}


@dataclass(frozen=True)
class CompiledOnnx:
    """What `compile_onnx` wrote: shape of one image's row per layer, the reference (batch, dim) float32, and the cost of one image."""

    shapes: dict[str, tuple[int, ...]]
    golden: dict[str, NDArray[np.float32]]
    multiply_accumulates: int


@dataclass(frozen=True)
class _Value:
    """One value of the graph: the name that is safe in paths, the raw ones that a user may know it by, its operator."""

    name: str
    tensor: str
    node: str
    kind: str


def layers(path: Path, size: int) -> list[Layer]:
    """Every value that can be cut, in the order of the graph.

    Parameters
    ----------
    path : the ONNX file.
    size : side of its input in pixels.

    Returns
    -------
    Float values of two to four axes whose first is the batch. A value with four axes is a map (n, channels, height, width), unless only its
    second and third axis are equally long: then (n, height, width, channels).

    Raises
    ------
    BackboneError : no ONNX network of images, or one that cannot take a batch.
    """
    network = _opened(path, size)
    with _staged(network, network.values, batch=None) as (_, model):
        shapes = _shapes(network, model)
    found = [(value, shapes[value.tensor]) for value in network.values if value.tensor in shapes]
    if not found:
        raise BackboneError(
            f"No value of {path} follows the batch, so it cannot take several images. Export it with a dynamic batch axis."
        )
    return [Layer(value.name, value.kind, channels_last(shape)) for value, shape in found]


def default_cut(path: Path, size: int) -> str:
    """Safe name of what goes into the classifier: the last linear layer before the first output; without one, the output itself."""
    network = _opened(path, size)
    made = {output: node for node in network.model.graph.node for output in node.output}
    constants = {tensor.name for tensor in network.model.graph.initializer}
    constants |= {node.output[0] for node in network.model.graph.node if node.op_type == "Constant"}
    output = tensor = network.model.graph.output[0].name
    while tensor in made and made[tensor].op_type in _AFTER_CLASSIFIER:
        tensor = next((name for name in made[tensor].input if name not in constants), "")
    if tensor in made and made[tensor].op_type in _DATA_AT_0 and made[tensor].input[1] in constants | _weights(made, constants):
        tensor = made[tensor].input[0]
        while tensor in made and made[tensor].op_type in _BEFORE_CLASSIFIER:
            tensor = made[tensor].input[0]
    else:
        tensor = output
    by_tensor = {value.tensor: value.name for value in network.values}
    return by_tensor.get(tensor) or by_tensor.get(output) or network.values[-1].name


def reference(
    path: Path, layers: Sequence[str], pixels: NDArray[Any], normalisation: Normalisation
) -> dict[str, NDArray[np.float32]]:
    """What ONNX Runtime computes on the CPU in float32, image by image.

    Parameters
    ----------
    layers : safe or raw names.
    pixels : (n, size, size, 3), RGB from 0 to 255, any dtype.

    Returns
    -------
    Layer as given → (n, …) float32; maps (n, height, width, channels), whatever their order in the file.
    """
    network = _opened(path, pixels.shape[1])
    found = [_find(network, layer) for layer in layers]
    with _staged(network, found, batch=network.image.batch, read_model=False) as (staged, _):
        outputs = _run_reference(network, staged, found, normalised(network.image, pixels, normalisation))
    return {layer: np.stack([map_last(value) for value in rows]) for layer, rows in zip(layers, outputs, strict=True)}


def compile_onnx(
    path: Path,
    *,
    size: int,
    batch: int,
    normalisation: Normalisation,
    pixels: str,
    layers: Sequence[str],
    pooling: str,
    maps: str,
    folder: Path,
    golden: NDArray[Any],
) -> CompiledOnnx:
    """Write `model.xml` and `model.bin` (OpenVINO IR, float32) into a folder.

    Its input is (batch, size, size, 3), RGB from 0 to 255; its outputs are named like `layers`, each (batch, dim) float32.

    Parameters
    ----------
    normalisation : computed inside, in its order of channels.
    pixels : `uint8` or `float32`, what the input takes.
    layers : safe or raw names.
    pooling : `avg`, `max` or `gem` over the pixels of a map or the tokens of a sequence; `none` flattens, channels last. gem is the
        generalised mean with p = 3 (Radenović et al. 2018, doi:10.1109/TPAMI.2018.2846566).
    maps : `kept` changes the returned shapes only: (height, width, channels) instead of their product.
    golden : (batch, size, size, 3), the fixed images of the reference.

    Raises
    ------
    BackboneError : unknown layer, a graph that cannot take a batch, or OpenVINO and ONNX Runtime do not agree to a cosine of 0.9999.
    """
    import openvino

    network = _opened(path, size)
    found = [_find(network, layer) for layer in layers]
    with _staged(network, found, batch=None) as (_, model):
        followed = _shapes(network, model)
        for layer, value in zip(layers, found, strict=True):
            if value.tensor not in followed:
                raise BackboneError(
                    f"The layer {layer!r} of {path} is no float value of two to four axes whose first is the batch, so it "
                    "holds no features of single "
                    f"images. {_hint(network)}"
                )
        _reshape(network, model, batch)
        compiled = cut(
            model,
            {layer: value.tensor for layer, value in zip(layers, found, strict=True)},
            network.image,
            size=size,
            batch=batch,
            normalisation=normalisation,
            pixels=pixels,
            pooling=pooling,
        )
        rows = {layer: channels_last(followed[value.tensor]) for layer, value in zip(layers, found, strict=True)}
        openvino.save_model(compiled, folder / "model.xml", compress_to_fp16=False)  # half precision would move every feature
    exact = {layer: pooled(values, pooling) for layer, values in reference(path, layers, golden, normalisation).items()}
    _check(path, folder / "model.xml", exact, golden.astype(pixels))
    shapes = {layer: row_shape(shape, pooling, maps) for layer, shape in rows.items()}
    return CompiledOnnx(shapes, exact, multiply_accumulates(compiled) // batch)


@dataclass(frozen=True)
class TruncatedOnnx:
    """The network cut at one layer.

    Parameters
    ----------
    model : onnx.ModelProto of any batch, its data inside; its one output is the layer.
    image : its input.
    shape : of the output for one image, in the file's own order of axes.
    """

    model: Any
    image: ImageInput
    shape: tuple[int, ...]


def truncated(path: Path, layer: str, size: int) -> TruncatedOnnx:
    """The network without what comes after a layer. Raises BackboneError as `compile_onnx` does."""
    onnx = import_onnx()
    network = _opened(path, size)
    value = _find(network, layer)
    with _staged(network, [value], batch=None) as (staged, read):
        shape = _shapes(network, read)[value.tensor]
        model = onnx.load(staged)
    wanted, kept = {value.tensor}, []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    constants = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    for held, left in ((model.graph.node, kept[::-1]), (model.graph.initializer, constants)):
        left = [type(each).FromString(each.SerializeToString()) for each in left]
        del held[:]
        held.extend(left)
    del model.graph.value_info[:]
    return TruncatedOnnx(model, network.image, shape)


@dataclass(frozen=True)
class _Network:
    path: Path
    size: int
    model: Any
    image: ImageInput
    values: list[_Value]


def _opened(path: Path, size: int) -> _Network:
    model = read(path)
    image = image_input(path, model, size)
    refuse_bombs(path, model, image, size)
    return _Network(path, size, model, image, _named_values(model))


def _named_values(model: Any) -> list[_Value]:
    found: list[_Value] = []
    taken: set[str] = set()
    for node in model.graph.node:
        outputs = [output for output in node.output if output]
        if node.op_type in _NO_FEATURES:
            continue
        kept = outputs if node.op_type == "Split" else outputs[:1]  # second outputs are masks, indices and statistics
        for number, tensor in enumerate(kept):
            base = node.name or tensor
            name = plain = safe_name(base if len(kept) == 1 else f"{base}.{number}")
            again = 2
            while name in taken:
                name, again = f"{plain}-{again}", again + 1
            taken.add(name)
            found.append(_Value(name, tensor, node.name if len(kept) == 1 else "", node.op_type))
    return found


def safe_name(raw: str) -> str:
    """A value's name as it can stand in paths: letters, digits and `._-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", ".", raw).strip("._-")[:120] or "value"


def _find(network: _Network, layer: str) -> _Value:
    for attribute in ("name", "tensor", "node"):
        for value in network.values:
            if getattr(value, attribute) == layer:
                return value
    known = [value.name for value in network.values]
    raise BackboneError(
        f"The backbone {network.path.name} has no layer {layer!r}.{did_you_mean(layer, known)} It has {len(known)}; the last "
        "are: "
        f"{', '.join(known[-MAX_LISTED_LAYERS:])}."
    )


@contextlib.contextmanager
def _staged(
    network: _Network, wanted: Sequence[_Value], batch: int | None, read_model: bool = True
) -> Iterator[tuple[Path, Any]]:
    """A copy of the network whose outputs are the wanted values, and what OpenVINO reads from it; of any batch where None is given."""
    model = type(network.model)()
    model.CopyFrom(network.model)
    if batch is None and network.image.batch is not None:
        _free_the_batch(network, model)
    set_input_shape(model, network.image, batch, network.size)
    del model.graph.output[:]
    for tensor in dict.fromkeys(value.tensor for value in wanted):
        model.graph.output.add().name = tensor
    model.ClearField("training_info")
    with tempfile.TemporaryDirectory() as folder, memory_limited():
        staged = write_beside_data(model, network.path, Path(folder))
        yield staged, _read_model(network, staged) if read_model else None


def _free_the_batch(network: _Network, model: Any) -> None:
    """Reshapes to constants that begin with the exported batch keep the batch of what they reshape instead."""
    onnx = import_onnx()
    known = refuse_bombs(network.path, network.model, network.image, network.size)
    lengths = {value.name: value.type.tensor_type.shape.dim for value in known.graph.value_info}
    follows = {name for name, dims in lengths.items() if dims and dims[0].dim_value == network.image.batch} | {
        network.image.name
    }
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {
        node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant" and node.attribute
    }
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[0] not in follows or node.input[1] not in constants:
            continue
        target = onnx.numpy_helper.to_array(constants[node.input[1]]).copy()
        if target.ndim == 1 and target.size and target[0] == network.image.batch and 0 not in target:
            target[0] = 0  # takes the length from what comes in
            kept = [each for each in node.attribute if each.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)
            freed = onnx.numpy_helper.from_array(target, name=f"{node.input[1]}/any-batch")
            if freed.name not in constants:
                model.graph.initializer.append(freed)
                constants[freed.name] = freed
            node.input[1] = freed.name


@contextlib.contextmanager
def memory_limited() -> Iterator[None]:
    """This process gets no more memory than the machine has free now: a network that asks for more fails, and harms no other process."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        free = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
        held = re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())
    except OSError:  # not Linux
        free = held = None
    if free is None or held is None:
        yield
        return
    limit = (int(free[1]) + int(held[1])) * 1024
    limits = [each for each in (limit, soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    except MemoryError as error:
        raise BackboneError(
            "The network needs more memory than this machine has free. Take a smaller size or batch."
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _read_model(network: _Network, staged: Path) -> Any:
    import openvino

    try:
        return openvino.Core().read_model(staged.read_bytes()) if not _has_data(staged) else openvino.Core().read_model(staged)
    except RuntimeError as error:
        raise BackboneError(f"OpenVINO cannot read {network.path}: {_short(error)}. Export it with another opset.") from error


def _has_data(staged: Path) -> bool:
    return len(list(staged.parent.iterdir())) > 1


def _shapes(network: _Network, model: Any) -> dict[str, tuple[int, ...]]:
    """Tensor → shape without its batch, of float values whose first axis follows the batch."""
    seen: list[dict[str, tuple[int, ...]]] = []
    for batch in (2, 3):
        _reshape(network, model, batch)
        names = [each for each in (port.get_names() for port in model.outputs)]
        shapes = [tuple(port.partial_shape.to_shape()) if port.partial_shape.is_static else () for port in model.outputs]
        real = [port.element_type.is_real() for port in model.outputs]
        seen.append(
            {
                name: shape[1:]
                for tensors, shape, floats in zip(names, shapes, real, strict=True)
                for name in tensors
                if floats and 2 <= len(shape) <= 4 and shape[0] == batch and min(shape) > 0
            }
        )
    return {name: shape for name, shape in seen[0].items() if seen[1].get(name) == shape}


def _reshape(network: _Network, model: Any, batch: int) -> None:
    shape = [batch, 3, network.size, network.size] if network.image.channels_first else [batch, network.size, network.size, 3]
    try:
        model.reshape({model.inputs[0]: shape})
    except RuntimeError as error:
        raise BackboneError(f"{network.path} cannot take {batch} images at once. {_hint(network)} ({_short(error)})") from error


def _hint(network: _Network) -> str:
    fixed = f"It was exported for a batch of {network.image.batch}. " if network.image.batch else ""
    return f"{fixed}Export it with a dynamic batch axis (torch.onnx.export: dynamic_axes or dynamic_shapes)."


def _run_reference(
    network: _Network, staged: Path, found: Sequence[_Value], inputs: NDArray[Any]
) -> list[list[NDArray[np.float32]]]:
    """Layer by layer, one array an image."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackboneError(
            f"ONNX networks need packages that are not here ({error}): pip install 'trunkline[onnx]'."
        ) from error

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    step = network.image.batch or 1
    rows: list[list[NDArray[np.float32]]] = [[] for _ in found]
    try:
        session = onnxruntime.InferenceSession(str(staged), options, providers=["CPUExecutionProvider"])
        for start in range(0, len(inputs), step):
            part = inputs[start : start + step]
            filled = np.concatenate([part, np.zeros((step - len(part), *part.shape[1:]), part.dtype)])
            outputs = session.run([value.tensor for value in found], {network.image.name: filled})
            for layer, output in zip(rows, outputs, strict=True):
                layer += [np.asarray(row, np.float32) for row in output[: len(part)]]
    except MemoryError:
        raise
    except Exception as error:  # its exceptions have no common base
        raise BackboneError(
            f"ONNX Runtime cannot run {network.path}: {_short(error)}. Export it with another opset."
        ) from error
    return rows


def _check(path: Path, written: Path, exact: dict[str, NDArray[np.float32]], pixels: NDArray[Any]) -> None:
    """What was written computes, on a whole batch, what the reference computes on single images."""
    import openvino

    with memory_limited():
        compiled = openvino.Core().compile_model(str(written), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        batch = compiled.input(0).shape[0]
        outputs = in_batches(lambda some: {layer: compiled([some])[layer] for layer in exact}, pixels, batch)
    for layer, expected in exact.items():
        lowest = float(cosines(outputs[layer], expected).min())
        if not lowest >= MIN_COSINE:
            raise BackboneError(
                f"The layer {layer!r} of {path} does not compute in OpenVINO, on {batch} images at once, what ONNX "
                "Runtime computes on single ones: "
                f"lowest cosine {lowest:.6f}, at least {MIN_COSINE} is needed. Either the graph mixes the images of a batch, "
                "or it is not in evaluation "
                "mode, or its values are not finite. Export it in evaluation mode with a dynamic batch axis."
            )


def _weights(made: dict[str, Any], constants: set[str]) -> set[str]:
    """Values that are constants turned or cast: what exporters put before a MatMul."""
    return {
        name
        for name, node in made.items()
        if node.op_type in ("Transpose", "Cast", "Identity", "DequantizeLinear")
        and all(each in constants for each in node.input)
    }


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
