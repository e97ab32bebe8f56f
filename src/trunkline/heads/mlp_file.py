"""The weights in a Keras file of ours, read as numbers: nothing in it is given to Keras, so nothing in it can run."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np

from trunkline.errors import CorruptStore
from trunkline.heads.dense_layers import DenseLayers, Values
from trunkline.heads.standard import Standard

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}


def layers_of(content: bytes, name: str, outputs: int) -> DenseLayers:
    """Raises CorruptStore for a file that is damaged, leads out of itself, or is no network with so many outputs."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if {each.filename for each in members} != MEMBERS or len(members) != len(MEMBERS):
                raise ValueError(f"it holds {', '.join(sorted(each.filename for each in members)[:8])}")
            if sum(each.file_size for each in members) > len(content):
                raise ValueError("its members say they are larger than the file")
            read = {each.filename: archive.read(each) for each in members}
        kinds = [each["class_name"] for each in json.loads(read["config.json"])["config"]["layers"]]
        weights = _read(read["model.weights.h5"], kinds.count("Dense"))
        _refuse_what_does_not_fit(weights, outputs)
    except Exception as error:  # zipfile, JSON and h5py raise many kinds for damaged files
        words = " ".join(str(error).split())[:300]
        raise CorruptStore(
            f"{name} of the saved head is damaged, or no network of ours ({type(error).__name__}: {words}). Delete the head: it is fitted "
            "again."
        ) from error
    return weights


def _read(content: bytes, dense: int) -> DenseLayers:
    """As Keras names them: by class, and numbered from the second on."""
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        mean, variance = (_array(file, f"layers/normalization/vars/{number}") for number in range(2))
        paths = [f"layers/dense_{number}/vars" if number else "layers/dense/vars" for number in range(dense)]
        layers = [(_array(file, f"{path}/0"), _array(file, f"{path}/1")) for path in paths]
    with np.errstate(invalid="ignore"):  # what is negative becomes no number, and is refused
        return DenseLayers(Standard(mean, np.sqrt(variance)), layers)


def _array(file: Any, path: str) -> Values:
    """An array of this file, stored whole. Raises ValueError for one that leads to another file, or says it is more than is there."""
    import h5py

    group = file
    for name in path.split("/"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{path} is missing, or a link")
        group = group[name]
    array = group
    if not isinstance(array, h5py.Dataset) or array.is_virtual or array.external or array.dtype != np.float32:
        raise ValueError(f"{path} holds no plain float32 numbers")
    if array.id.get_storage_size() != array.nbytes:
        raise ValueError(f"{path} says it has {array.nbytes:,} bytes, and {array.id.get_storage_size():,} are stored")
    return np.asarray(array[()])


def _refuse_what_does_not_fit(weights: DenseLayers, outputs: int) -> None:
    """Raises ValueError."""
    mean, deviation = weights.standard.mean, weights.standard.deviation
    width = len(mean)
    if mean.shape != (width,) or deviation.shape != (width,) or not (deviation > 0).all():
        raise ValueError("mean and deviation that do not fit together")
    for kernel, bias in weights.layers:
        if kernel.shape != (width, len(bias)) or bias.ndim != 1:
            raise ValueError(f"a layer of {kernel.shape} after one of {width}")
        width = len(bias)
    if width != outputs or not weights.layers:
        raise ValueError(f"{width} outputs, where {outputs} are due")
    if not all(np.isfinite(each).all() for each in (mean, deviation, *(one for both in weights.layers for one in both))):
        raise ValueError("weights that are infinite or no numbers")
