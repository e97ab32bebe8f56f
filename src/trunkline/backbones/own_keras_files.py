"""What a Keras file of a stranger may hold, looked at before Keras sees it.

Keras' safe mode has been got round many times (CVE-2024-3660; 2025-1550, 8747, 9905, 9906, 12058; 2026-0897, 1462): by lambdas in
HDF5, by classes and functions named by module, by layers that read files, by links out of the HDF5 file. So what Keras would make of a
file is read here first, and everything that is not on a list of harmless classes is refused.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trunkline.errors import BackboneError

MAX_CONFIG_BYTES = 64 << 20
MAX_WEIGHT_BYTES = 8 << 30
MAX_EXPANSION = 100  # of stored to declared bytes, above a floor
EXPANSION_FLOOR = 64 << 20
MAX_OBJECTS = 200_000
MAX_DEPTH = 64
MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}

_SHAPES = ("1D", "2D")
LAYERS = frozenset(
    [
        *(
            "Functional",
            "Sequential",
            "Model",
            "InputLayer",
            "Activation",
            "ReLU",
            "LeakyReLU",
            "PReLU",
            "ELU",
            "ThresholdedReLU",
            "Softmax",
        ),
        *(
            "Dense",
            "EinsumDense",
            "Embedding",
            "Identity",
            "Conv1D",
            "Conv2D",
            "Conv2DTranspose",
            "DepthwiseConv2D",
            "SeparableConv2D",
        ),
        *(
            "Convolution2D",
            "SeparableConvolution2D",
            "DepthwiseConvolution2D",
            "Conv1DTranspose",
            "DepthwiseConv1D",
            "SeparableConv1D",
        ),
        *(f"{how}Pooling{axes}" for how in ("Max", "Average", "GlobalMax", "GlobalAverage") for axes in _SHAPES),
        *(f"{how}Pool{axes}" for how in ("Max", "Avg", "GlobalMax", "GlobalAvg") for axes in _SHAPES),
        *(
            "BatchNormalization",
            "LayerNormalization",
            "GroupNormalization",
            "UnitNormalization",
            "RMSNormalization",
            "SpectralNormalization",
        ),
        *(
            "Add",
            "Subtract",
            "Multiply",
            "Average",
            "Maximum",
            "Minimum",
            "Concatenate",
            "Dot",
            "Flatten",
            "Reshape",
            "Permute",
            "RepeatVector",
        ),
        *("Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D"),
        *(
            "Dropout",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "GaussianDropout",
            "GaussianNoise",
            "AlphaDropout",
            "ActivityRegularization",
        ),
        *("Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention"),
        *("Rescaling", "Resizing", "CenterCrop", "Normalization"),
        *(
            "RandomFlip",
            "RandomRotation",
            "RandomZoom",
            "RandomTranslation",
            "RandomContrast",
            "RandomBrightness",
            "RandomCrop",
        ),
    ]
)
_BY_MODULE: Mapping[str, frozenset[str] | None] = {  # None: any class that lives there
    "keras": frozenset({"Functional", "Sequential", "Model", "DTypePolicy"}),
    "keras.models": frozenset({"Functional", "Sequential", "Model"}),
    "keras.layers": LAYERS,
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.src.models.sequential": frozenset({"Sequential"}),
    "keras.src.applications.convnext": frozenset({"LayerScale", "StochasticDepth"}),
    "keras.src.applications.inception_resnet_v2": frozenset({"CustomScaleLayer"}),
    "keras.dtype_policies": frozenset({"DTypePolicy"}),
    "keras.mixed_precision": frozenset({"DTypePolicy"}),
    "keras.initializers": None,
    "keras.regularizers": None,
    "keras.constraints": None,
    "keras.src.ops.numpy": None,
    "keras.src.ops.nn": None,
    "keras.src.ops.math": None,
    "keras.src.ops.core": frozenset({"Cast", "Shape", "StopGradient", "Unstack", "Slice"}),
    "keras.src.ops.image": frozenset({"Resize", "Transpose", "RGBToGrayscale"}),
}
_FUNCTIONS = frozenset(
    [
        *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
        *(
            "leaky_relu",
            "linear",
            "log_sigmoid",
            "log_softmax",
            "mish",
            "relu",
            "relu6",
            "selu",
            "sigmoid",
            "silu",
            "soft_shrink",
        ),
        *(
            "softmax",
            "softplus",
            "softsign",
            "sparse_plus",
            "sparsemax",
            "squareplus",
            "swish",
            "tanh",
            "tanh_shrink",
            "threshold",
        ),
    ]
)
_FUNCTION_MODULES = {"builtins", "keras.activations"}
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__", "__tuple__", "TensorShape"}
# of HDF5, which names no modules: initialisers and such, as Keras 1 to 3 write them
_UNNAMED = LAYERS | {
    *(
        "Zeros",
        "Ones",
        "Constant",
        "RandomNormal",
        "RandomUniform",
        "TruncatedNormal",
        "VarianceScaling",
        "Orthogonal",
        "Identity",
    ),
    *(
        "GlorotNormal",
        "GlorotUniform",
        "HeNormal",
        "HeUniform",
        "LecunNormal",
        "LecunUniform",
        "L1",
        "L2",
        "L1L2",
        "OrthogonalRegularizer",
    ),
    *(
        "MaxNorm",
        "NonNeg",
        "UnitNorm",
        "MinMaxNorm",
        "DTypePolicy",
        "Policy",
        "LayerScale",
        "StochasticDepth",
        "CustomScaleLayer",
    ),
}


def checked_config(path: Path) -> dict[str, Any]:
    """The configuration of the whole model in a `.keras` or `.h5` file, once everything in the file was looked at.

    Raises
    ------
    BackboneError : no such model, weights alone, or a file that asks for more than layers and numbers.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".keras":
            config = _read_archive(path)
        elif kind == ".h5":
            config = _read_hdf5(path)
        else:
            raise BackboneError(f"{path} ends neither in .keras nor in .h5, so it is no Keras model.")
        config = {key: _not_compiled(value) for key, value in config.items() if key != "compile_config"}
        _refuse_code(path, config, named=kind == ".keras")
    except OSError as error:
        raise BackboneError(f"{path} is no Keras model, or is damaged: {error.strerror or _short(error)}.") from error
    except RecursionError as error:
        raise BackboneError(f"The configuration in {path} nests too deep; no Keras model does. It is refused.") from error
    if config.get("class_name") not in ("Functional", "Sequential", "Model") or not isinstance(
        config.get("config"), (dict, list)
    ):
        raise BackboneError(
            f"{path} holds a model of the class {config.get('class_name')!r}: only sequential and functional ones say what "
            "they compute. Export it to ONNX."
        )
    return config


def _read_archive(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if (
                len(set(names)) != len(names)
                or not set(names) <= MEMBERS
                or not {"config.json", "model.weights.h5"} <= set(names)
            ):
                raise BackboneError(
                    f"{path} holds {', '.join(map(repr, names[:8]))}. A Keras model of images holds "
                    f"{', '.join(sorted(MEMBERS))}, once each; anything "
                    "else is refused."
                )
            for member in members:
                limit = MAX_WEIGHT_BYTES if member.filename == "model.weights.h5" else MAX_CONFIG_BYTES
                _refuse_bomb(path, member.filename, member.file_size, member.compress_size, limit)
            config = _parsed(path, archive.read("config.json"))
            with archive.open("model.weights.h5") as weights, tempfile.TemporaryFile() as unpacked:
                shutil.copyfileobj(weights, unpacked)  # seeking within an archive reads it again each time
                _walk_hdf5(path, unpacked)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BackboneError(f"{path} is no Keras model, or is damaged: {_short(error)}.") from error
    return config


def _read_hdf5(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        found = _walk_hdf5(path, file)
    if found is None:
        raise BackboneError(
            f"{path} holds weights alone, without the network they belong to. Give them to a network: --backbone NAME "
            f"--weights {path}."
        )
    return _parsed(path, found)


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    try:
        config: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BackboneError(f"The configuration in {path} is not JSON ({_short(error)}). The file is damaged.") from error
    if not isinstance(config, dict):
        raise BackboneError(f"The configuration in {path} describes no model. The file is damaged.")
    return config


def write_archive(path: Path, config: dict[str, Any], target: Path) -> None:
    """A .keras file of the configuration that was checked and the weights of `path`."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as out:
        out.writestr("metadata.json", "{}")
        out.writestr("config.json", json.dumps(config))
        with archive.open("model.weights.h5") as weights, out.open("model.weights.h5", "w", force_zip64=True) as copy:
            shutil.copyfileobj(weights, copy)


def _not_compiled(thing: Any) -> Any:
    """The configuration without optimisers, losses and metrics: features need none, and Keras would make them for inner models."""
    if isinstance(thing, dict):
        return {key: _not_compiled(value) for key, value in thing.items() if key != "compile_config"}
    return [_not_compiled(each) for each in thing] if isinstance(thing, list) else thing


def _refuse_bomb(path: Path, what: str, declared: int, stored: int, limit: int) -> None:
    if declared > limit or (declared > EXPANSION_FLOOR and declared > MAX_EXPANSION * max(stored, 1)):
        raise BackboneError(
            f"{what!r} in {path} says it is {declared:,} bytes, from {stored:,} stored ones; at most {limit:,} and "
            f"{MAX_EXPANSION} times the stored ones "
            "are taken. It is refused, as it would fill the memory."
        )


def _walk_hdf5(path: Path, file: Any) -> bytes | None:
    """Refuse whatever in an HDF5 file is not a number of its own. Returns the model's configuration, if there is one."""
    import h5py

    with _hdf5_errors(path), h5py.File(file, "r") as root:
        _walk_group(h5py, path, root, "", set(), [0])
        config = root.attrs.get("model_config")
    if config is None:
        return None
    content = config.encode() if isinstance(config, str) else bytes(config)
    if len(content) > MAX_CONFIG_BYTES:
        raise BackboneError(f"The configuration in {path} has {len(content):,} bytes; at most {MAX_CONFIG_BYTES:,} are taken.")
    return content


@contextlib.contextmanager
def _hdf5_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except BackboneError:
        raise
    except Exception as error:  # h5py raises many kinds for damaged files
        raise BackboneError(f"The HDF5 in {path} is damaged: {_short(error)}.") from error


def _walk_group(h5py: Any, path: Path, group: Any, where: str, seen: set[Any], total: list[int]) -> None:
    if where.count("/") > MAX_DEPTH or len(seen) > MAX_OBJECTS:
        raise BackboneError(f"The HDF5 in {path} nests {where[:80]!r} too deep or holds too many objects; no Keras model does.")
    for name in group:
        place = f"{where}/{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise BackboneError(
                f"{place} in {path} is a link ({type(link).__name__}), which could read another file. It is refused."
            )
        found = group[name]
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            raise BackboneError(f"{place} in {path} stands in the file twice, which no Keras model needs. It is refused.")
        seen.add(address)
        if isinstance(found, h5py.Group):
            _walk_group(h5py, path, found, place, seen, total)
        else:
            _check_dataset(h5py, path, found, place, total)


def _check_dataset(h5py: Any, path: Path, found: Any, place: str, total: list[int]) -> None:
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiubV" or found.dtype.fields:
        raise BackboneError(f"{place} in {path} holds no plain numbers. Weights are numbers, so it is refused.")
    if found.is_virtual or found.external:
        raise BackboneError(f"{place} in {path} keeps its values in other files, and could read any of yours. It is refused.")
    declared = math.prod(found.shape or ()) * found.dtype.itemsize
    total[0] += declared
    _refuse_bomb(path, place, declared, found.id.get_storage_size(), MAX_WEIGHT_BYTES)
    if total[0] > MAX_WEIGHT_BYTES:
        raise BackboneError(f"The arrays in {path} say they are more than {MAX_WEIGHT_BYTES:,} bytes together. It is refused.")


def _refuse_code(path: Path, config: dict[str, Any], named: bool) -> None:
    """Every object that Keras would make from the configuration is one of the harmless ones; `named`: objects say their module."""
    todo: list[Any] = [config]
    while todo:
        thing = todo.pop()
        if isinstance(thing, list):
            todo += thing
        elif isinstance(thing, dict):
            if "class_name" in thing:
                _refuse_class(path, thing, named)
            _refuse_free_nodes(path, thing)
            todo += thing.values()


def _refuse_free_nodes(path: Path, thing: Mapping[str, Any]) -> None:
    """A layer that is called on numbers alone would compute while the file is loaded, on arrays of any size."""
    for node in thing.get("inbound_nodes") or ():
        if isinstance(node, dict) and not _has_tensor(node):
            raise BackboneError(
                f"{path} calls the layer {thing.get('name')!r} on no image, only on numbers in the file. It is refused."
            )


def _has_tensor(thing: Any) -> bool:
    if isinstance(thing, dict):
        return thing.get("class_name") == "__keras_tensor__" or any(_has_tensor(each) for each in thing.values())
    return isinstance(thing, list) and any(_has_tensor(each) for each in thing)


def _refuse_class(path: Path, thing: Mapping[str, Any], named: bool) -> None:
    kind, module, registered = thing["class_name"], thing.get("module"), thing.get("registered_name")
    what = f"{module}.{kind}" if module else str(kind)
    if kind in ("Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda"):
        advice = "Write it with Keras layers, or export the model to ONNX."
        raise BackboneError(f"{path} has a {kind} layer, which is code or needs some. Code in files is never run. {advice}")
    if kind == "function":
        name = thing.get("config")
        if name not in _FUNCTIONS or module not in _FUNCTION_MODULES or registered not in (None, name):
            raise BackboneError(
                f"{path} calls the function {module}.{name} ({registered}). Only Keras' own activations are taken."
            )
        return
    if isinstance(kind, str) and kind in _VALUES and not module:
        return
    allowed = _BY_MODULE.get(module, frozenset()) if isinstance(module, str) else (_UNNAMED if module is None else frozenset())
    known = isinstance(kind, str) and kind.isidentifier() and (allowed is None or kind in allowed)
    if not known or registered not in (None, kind) or (allowed is None and not kind[0].isupper()):
        alias = f", registered as {registered!r}" if registered not in (None, kind) else ""
        raise BackboneError(
            f"{path} needs the class {what}{alias}, which is none of the Keras layers for images that are known to be "
            "harmless. It is refused, as making it "
            "could run code or read files. Export the model to ONNX."
        )
    if named and module is None and kind not in _VALUES:
        raise BackboneError(
            f"{path} names the class {kind} without its module, which Keras never writes in a .keras file. It is refused."
        )


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
