"""The user's own networks: a `.onnx`, `.keras` or `.h5` file at any URI, and a small YAML beside it that says how it wants its pixels."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field, ValidationError, field_validator

from trunkline.backbones.backbone import Backbone, Normalisation
from trunkline.errors import BackboneError, did_you_mean
from trunkline.locations import Location, reached
from trunkline.specs import Spec

ENDINGS = (".onnx", ".keras", ".h5")
MAX_BYTES = 8 << 30
MAX_YAML_BYTES = 64 << 10
_CHUNK = 1 << 22
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

NORMALISATIONS = {
    "torch": Normalisation(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375)),
    "tf": Normalisation(mean=127.5, deviation=127.5),
    "caffe": Normalisation(mean=(103.939, 116.779, 123.68), channels="bgr"),
    "none": Normalisation(),
}

EXAMPLE = "{size: 224, normalisation: torch}"
ADVICE = (
    f"for example the line {EXAMPLE} . The normalisation is of pixels from 0 to 255: torch (ImageNet's mean and deviation), tf (-1 to 1), "
    "caffe (BGR less the mean), none (0 to 255), or {mean: [127, 127, 127], deviation: [128, 128, 128], channels: rgb}. `layer: NAME` may "
    "say where it is cut, else that is before its classifier."
)


class _Numbers(Spec):
    """A normalisation in numbers, of pixels from 0 to 255."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    channels: Literal["rgb", "bgr"] = "rgb"

    @field_validator("mean", "deviation")
    @classmethod
    def _finite(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(each) for each in value):
            raise ValueError("must be three finite numbers")
        return value

    @field_validator("deviation")
    @classmethod
    def _above_zero(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not min(value) > 0:
            raise ValueError("must be above 0, pixels are divided by it")
        return value


class _Described(Spec):
    """What the YAML says."""

    size: int = Field(ge=16, le=4096)
    normalisation: Normalisation
    layer: str | None = Field(None, min_length=1, max_length=500)

    @field_validator("normalisation", mode="before")
    @classmethod
    def _word_or_numbers(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return Normalisation(**_Numbers.model_validate(value).model_dump())
        if not isinstance(value, str) or value not in NORMALISATIONS:
            raise ValueError(f"must be {', '.join(NORMALISATIONS)}, or {{mean: [..], deviation: [..], channels: rgb or bgr}}")
        return NORMALISATIONS[value]


def is_own(name: str) -> bool:
    """Whether a backbone's name is a file of the user's: it ends in .onnx, .keras or .h5, in any case."""
    return name.lower().endswith(ENDINGS)


def describe(uri: str) -> Backbone:
    """What the YAML beside the network says; the network itself is not opened.

    Parameters
    ----------
    uri : the network, a path or any fsspec URL. `resnet18.onnx` is described by `resnet18.yaml` in the same folder.

    Returns
    -------
    Backbone of the family `own`, named like the file. Its `cut` is empty where the YAML names no layer: `default_cut` of
    `onnx_network` or `own_keras` then finds it in the network.

    Raises
    ------
    BackboneError : no network, no YAML or a wrong one there, or a file name that could not stand in a path.
    """
    network = Location.of(uri)
    if not _SAFE.fullmatch(network.name) or not is_own(network.name):
        raise BackboneError(
            f"The network's file name {network.name!r} cannot name a backbone: it may hold letters, digits, '.', '_' and "
            "'-', up to 100, and "
            f"ends in {', '.join(ENDINGS)}. Rename the file, and the YAML beside it."
        )
    beside = Location(str(network).rsplit(".", 1)[0] + ".yaml")
    if not network.exists():
        raise BackboneError(f"There is no network {network}. Check the path.")
    said = _validated(_mapping(beside, network), str(beside))
    return Backbone(
        name=network.name, family="own", size=said.size, normalisation=said.normalisation, cut=said.layer or "", weights=None
    )


def fetch(uri: str, folder: Path) -> Path:
    """The network as a local file.

    Parameters
    ----------
    uri : the network; a local one is returned as it is.
    folder : where a remote one is copied to, below a folder named by its digest, with the data files that an ONNX file names beside it.

    Raises
    ------
    BackboneError : it is not there, no file, or larger than 8 GiB.
    StorageUnreachable : the bucket or server does not answer.
    """
    network = Location.of(uri)
    if network.is_local:
        if not network.path.is_file():
            raise BackboneError(f"There is no network {network}. Check the path.")
        return network.path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        here = Path(temporary, "files", network.name)
        here.parent.mkdir()
        _download(network, here, MAX_BYTES)
        for name in _data_files(here):
            _download(Location(str(network).rsplit("/", 1)[0]) / name, here.parent / name, MAX_BYTES)
        kept = folder / digest(here)[:16]
        with contextlib.suppress(OSError):  # it was fetched before, and stays: somebody may be reading it
            here.parent.rename(kept)
    return kept / network.name


def digest(path: Path) -> str:
    """SHA-256 of the network, 64 hex digits: of the file, or where an ONNX file keeps data in others, of the names and contents of all."""
    beside = _data_files(path)
    own = _sha256(path)
    if not beside:
        return own
    contents = [["", own], *([name, _sha256(path.parent / name)] for name in beside)]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()


def _data_files(path: Path) -> list[str]:
    if path.suffix.lower() != ".onnx":
        return []
    from trunkline.backbones.onnx_files import data_files

    return data_files(path)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BackboneError(f"Cannot read {path}: {error.strerror}. Without it the network is not whole.") from error


def _download(source: Location, target: Path, limit: int) -> None:
    copied = 0
    try:
        with reached(source) as remote, remote.open(str(source), "rb") as file, target.open("wb") as out:
            while chunk := file.read(_CHUNK):
                copied += len(chunk)
                if copied > limit:
                    raise BackboneError(
                        f"{source} holds more than {limit >> 30} GiB, which no network of this kind needs. It is refused."
                    )
                out.write(chunk)
    except FileNotFoundError as error:
        raise BackboneError(f"There is no {source}. The network cannot be read without it; check the path.") from error


def _mapping(beside: Location, network: Location) -> dict[str, Any]:
    try:
        content = beside.read()
    except FileNotFoundError as error:
        raise BackboneError(
            f"{network} needs a YAML beside it that says its size and how its pixels are normalised: no network file says "
            "that, and wrong pixels ruin "
            f"features without an error. Write {beside}, {ADVICE}"
        ) from error
    if len(content) > MAX_YAML_BYTES:
        raise BackboneError(
            f"{beside} has {len(content):,} bytes; a description has at most {MAX_YAML_BYTES:,}. Is it another file?"
        )
    import yaml

    try:
        text = content.decode("utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise BackboneError(f"{beside} holds YAML aliases (*name), which a description never needs. Write the values out.")
        found = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BackboneError(f"{beside} is not YAML: {' '.join(str(error).split())[:300]}. Write {ADVICE}") from error
    if not isinstance(found, dict):
        raise BackboneError(f"{beside} holds no mapping of keys to values. Write {ADVICE}")
    return {str(key): value for key, value in found.items()}


def _validated(found: dict[str, Any], where: str) -> _Described:
    try:
        return _Described.model_validate(found)
    except ValidationError as error:
        raise BackboneError(f"{where}: " + "; ".join(_in_words(dict(problem)) for problem in error.errors())) from error


def _in_words(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _Numbers.model_fields if len(problem["loc"]) > 1 else _Described.model_fields
        return f"unknown key {key!r}.{did_you_mean(str(problem['loc'][-1]), known)} The keys are {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key!r} is missing; it has no default"
    message = cast("str", problem["msg"]).removeprefix("Value error, ")
    return f"{key!r} is {repr(problem.get('input'))[:80]}: {message[:1].lower()}{message[1:]}"
