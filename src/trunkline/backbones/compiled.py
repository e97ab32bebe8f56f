"""The truncated network compiled once into the store, with its golden vectors; workers load it without TensorFlow.

`backbones/<digest>/<files>/` holds the OpenVINO IR, the Keras file and `golden.npz`; `backbones/<digest>/backbone.json` names
them. It is created last: without it the rest does not count.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.catalogue import BATCH
from trunkline.errors import BackboneError, CorruptStore, RunError
from trunkline.locations import Location
from trunkline.specs import Recipe, digest_of

FILES = ("model.xml", "model.bin", "model.keras", "golden.npz")


@dataclass(frozen=True)
class Compiled:
    """A compiled backbone in the store: width of each layer, cost of one image in multiply-accumulates, SHA-256 of its files.

    The files lie in `location/<files>`, a folder named by their digests: two runs that compile at once do not touch each other's.
    """

    location: Location
    files: str
    size: int
    dims: dict[str, int]
    multiply_accumulates: int
    sha256: dict[str, str]

    def file(self, name: str) -> bytes:
        """One of its files. Raises CorruptStore where it is not what was written."""
        place = self.location / f"{self.files}/{name}"
        content = place.read() if place.exists() else b""
        if hashlib.sha256(content).hexdigest() != self.sha256[name]:
            raise CorruptStore(f"{place} is damaged or incomplete. Delete {self.location}, so that it is compiled anew.")
        return content

    def golden(self) -> dict[str, NDArray[np.float32]]:
        """Layer → (BATCH, dim) float32: what TensorFlow computed on the golden pixels."""
        with np.load(io.BytesIO(self.file("golden.npz")), allow_pickle=False) as file:
            return {layer: file[layer] for layer in self.dims}


def compiled(store: Location, recipe: Recipe) -> Compiled:
    """The compiled backbone of a recipe: from the store, else compiled into it. Raises BackboneError for an unknown layer."""
    key = recipe.model_dump(include={"backbone", "weights", "layers", "size", "normalisation", "precision"}) | {"batch": BATCH}
    location = store / f"backbones/{digest_of(key)}"
    if not (location / "backbone.json").exists():
        _compile(location, recipe)
    return _load(location)


def _load(location: Location) -> Compiled:
    try:
        said = json.loads((location / "backbone.json").read())
        return Compiled(location, said["files"], said["size"], said["dims"], said["multiply_accumulates"], said["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStore(f"{location}/backbone.json is damaged. Delete {location}, so that it is compiled anew.") from error


def _compile(location: Location, recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _compile_apart(recipe, Path(folder))
        contents = {name: Path(folder, name).read_bytes() for name in FILES}
        said = json.loads(Path(folder, "said.json").read_text())
    said["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    said["files"] = digest_of(said["sha256"])
    for name, content in contents.items():
        (location / f"{said['files']}/{name}").write(content)
    with contextlib.suppress(FileExistsError):  # another run compiled it at the same time; its backbone holds
        (location / "backbone.json").create(json.dumps(said, indent=2).encode())


def _compile_apart(recipe: Recipe, folder: Path) -> None:
    """In a process of its own: TensorFlow's gigabyte and its chatter leave with it."""
    command = [sys.executable, "-m", "trunkline.backbones.compilation", recipe.model_dump_json(), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if ended.returncode == BackboneError.exit_code:
        raise BackboneError(ended.stdout.strip())
    if ended.returncode:
        raise RunError(f"Compiling {recipe.backbone} failed (exit status {ended.returncode}): {ended.stderr.strip()[-2000:]}")
