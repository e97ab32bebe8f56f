"""Reading a PyTorch state dict without PyTorch and without running what the file says.

The format before PyTorch 1.6: five pickles (magic number, protocol, system, state dict, storage keys), then each storage as an
int64 count and raw little-endian values. The unpickler knows four names and refuses every other.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import BackboneError

MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
}


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Parameter name → array.

    Raises
    ------
    BackboneError : not such a file, or it asks for anything but tensors in an ordered dictionary.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise BackboneError(f"Cannot read the weights file {path}: {error.strerror}.") from error
    except BackboneError:
        raise
    except Exception as error:
        raise BackboneError(f"{path} is not a PyTorch state dict of the old format, or is damaged ({error}).") from error


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, storages: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        values = storages[self.storage.key]
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if self.offset < 0 or min(self.strides, default=0) < 0 or (0 not in self.shape and last >= len(values)):
            raise BackboneError("A tensor of the weights file lies outside its storage; the file is damaged.")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise BackboneError(
            f"The weights file asks for {module}.{name}, which a state dict never needs. It is refused: do not trust it."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise BackboneError(f"The weights file refers to a {kind!r}; only storages are read.")
        return _Storage(str(key), dtype)


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if _Unpickler(file).load() != MAGIC:
        raise ValueError("wrong magic number")
    _protocol, _system = _Unpickler(file).load(), _Unpickler(file).load()
    tensors: dict[str, _Tensor] = _Unpickler(file).load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = {str(key): _read_storage(file, dtypes[str(key)]) for key in _Unpickler(file).load()}
    return {str(name): tensor.array(storages) for name, tensor in tensors.items()}


def _read_storage(file: BinaryIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise ValueError("it ends in the middle of a storage")
    return np.frombuffer(content, dtype)
