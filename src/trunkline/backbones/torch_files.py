"""Reading a PyTorch state dict without PyTorch and without running what the file says.

Two formats. Before PyTorch 1.6: five pickles (magic number, protocol, system, state dict, storage keys), then each storage as an
int64 count and raw little-endian values. Since then: a ZIP archive of stored members, the pickle `NAME/data.pkl` and each storage
as `NAME/data/KEY`. The unpickler knows a handful of names and refuses every other; nothing grows past the size of the file.
"""

from __future__ import annotations

import collections
import io
import math
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import BackboneError

MAGIC = 0x1950A86A20F9469CFC6C
ZIP_MAGIC = b"PK\x03\x04"
_ENCRYPTED = 0x1  # bit of a ZIP member's flags
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),  # the upper half of a float32
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("u1"),
}


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Parameter name → array, of a state dict or of the `state_dict` in a checkpoint; bfloat16 becomes float32.

    Raises
    ------
    BackboneError : not such a file, or it asks for anything but tensors in a dictionary.
    """
    which = "old"
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            which = "zip" if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC else "old"
            file.seek(0)
            return _read_zip(file, size) if which == "zip" else _read_old(file, size)
    except OSError as error:
        raise BackboneError(f"Cannot read the weights file {path}: {error.strerror}.") from error
    except BackboneError:
        raise
    except Exception as error:
        raise BackboneError(f"{path} is not a PyTorch state dict of the {which} format, or is damaged ({error}).") from error


class _Storage(NamedTuple):
    key: str
    kind: str
    length: int

    @property
    def bytes(self) -> int:
        return self.length * _DTYPES[self.kind].itemsize


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * _DTYPES[self.storage.kind].itemsize

    def view(self, values: NDArray[Any]) -> NDArray[Any]:
        """The tensor in its storage. Raises BackboneError where it lies outside."""
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if self.offset < 0 or min(self.strides, default=0) < 0 or (0 not in self.shape and last >= len(values)):
            raise BackboneError("A tensor of the weights file lies outside its storage; the file is damaged.")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)


class _Whole:
    """What a pickle is read from: never less than was asked for, and never more asked for than there is."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise ValueError("Ran out of input")
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise ValueError("Ran out of input")
        return line


class _Unpickler(pickle._Unpickler):
    """In Python: the memo of the one in C is an array, which a file of twelve bytes can grow to 32 GB."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(_Whole(file, size))
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        # made anew each time: a pickle can set attributes of what it gets
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _rebuilt(storage, offset, shape, strides)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise BackboneError(
            f"The weights file asks for {module}.{name}, which a state dict never needs. It is refused: do not trust it."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        word, *rest = pid
        if word != "storage":
            raise BackboneError(f"The weights file refers to a {str(word)[:40]!r}; only storages are read.")
        kind, key, _device, length, *_ = rest
        if kind not in _DTYPES or not isinstance(key, str) or not isinstance(length, int):
            raise ValueError("it describes a storage in a way that is not known")
        storage = _Storage(key, kind, length)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"it describes storage {key!r} twice, and differently")
        return storage


def _rebuilt(storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or not all(isinstance(value, int) for value in (offset, *shape, *strides)):
        raise ValueError("it has a tensor whose storage, shape or strides are none")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _tensors(loaded: Any) -> dict[str, _Tensor]:
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict):
        raise ValueError(f"it holds one {type(loaded).__name__} and not a dictionary of tensors")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            said = repr(name) if isinstance(name, str) else "one entry"
            raise ValueError(f"{said} is of type {type(value).__name__}, and a state dict maps names to tensors only")
    return loaded


def _arrays(tensors: Mapping[str, _Tensor], storages: Mapping[str, NDArray[Any]], size: int) -> dict[str, NDArray[Any]]:
    """Each tensor as an array of its own; what is the same view of the same storage is the same array."""
    made: dict[_Tensor, NDArray[Any]] = {}
    taken = 0
    for tensor in tensors.values():
        if tensor in made:
            continue
        view = tensor.view(storages[tensor.storage.key])
        taken += tensor.bytes
        if taken > size:
            raise BackboneError(
                f"The tensors of the weights file would take more than the {size} bytes that the file has, as they overlap or "
                "repeat themselves. It is refused, as such a file can fill the memory. Save contiguous copies of them."
            )
        made[tensor] = _decoded(view, tensor.storage.kind)
    return {name: made[tensor] for name, tensor in tensors.items()}


def _decoded(view: NDArray[Any], kind: str) -> NDArray[Any]:
    if kind == "BFloat16Storage":
        wide = view.astype("<u4")
        wide <<= 16
        return wide.view("<f4").copy()
    return view.astype(bool) if kind == "BoolStorage" else view.copy()


def _read_old(file: BinaryIO, size: int) -> dict[str, NDArray[Any]]:
    if _Unpickler(file, size).load() != MAGIC:
        raise ValueError("wrong magic number")
    _protocol, system = _Unpickler(file, size).load(), _Unpickler(file, size).load()
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise _big_endian()
    unpickler = _Unpickler(file, size)
    tensors = _tensors(unpickler.load())
    keys = _Unpickler(file, size).load()
    storages = {key: _read_storage(file, unpickler.storages[key], size) for key in keys}
    return _arrays(tensors, storages, size)


def _read_storage(file: BinaryIO, storage: _Storage, size: int) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    if storage.bytes > size - file.tell():
        raise ValueError("it ends in the middle of a storage")
    if count != storage.length:
        raise ValueError(f"storage {storage.key!r} has {count} values, and {storage.length} are described")
    return np.frombuffer(file.read(storage.bytes), _DTYPES[storage.kind])


def _read_zip(file: BinaryIO, size: int) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, size)
        folders = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(folders) != 1:
            raise ValueError(f"it has {len(folders)} members NAME/data.pkl, and one is needed")
        [folder] = folders
        order = members.get(f"{folder}/byteorder")
        if order is not None and archive.read(order) != b"little":
            raise _big_endian()
        pickled = archive.read(members[f"{folder}/data.pkl"])
        tensors = _tensors(_Unpickler(io.BytesIO(pickled), len(pickled)).load())
        storages = {}
        for name, tensor in tensors.items():
            storage = tensor.storage
            if storage.key not in storages:
                content = archive.read(_storage_member(members, f"{folder}/data/{storage.key}", name, storage))
                storages[storage.key] = np.frombuffer(content, _DTYPES[storage.kind])
        return _arrays(tensors, storages, size)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name. Raises BackboneError where there is one that PyTorch would not have written."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.orig_filename
        if member.flag_bits & _ENCRYPTED:
            raise _refused(f"has the encrypted member {name!r}", "what it holds cannot be checked")
        if member.compress_type != zipfile.ZIP_STORED:
            raise _refused(f"has the compressed member {name!r}", "it could unpack to any size")
        if member.file_size != member.compress_size:
            raise _refused(
                f"says that its member {name!r} has {member.file_size} bytes and holds {member.compress_size}", "one is a lie"
            )
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise _refused(f"has a member {name!r}", "that path leads out of the archive")
        if name in members:
            raise _refused(f"has two members {name!r}", "other programs may read the other one")
        members[name] = member
    total = sum(member.file_size for member in members.values())
    if total > size:
        raise _refused(f"has {size} bytes, and its members say {total}", "it could unpack to any size")
    return members


def _storage_member(members: Mapping[str, zipfile.ZipInfo], place: str, name: str, storage: _Storage) -> zipfile.ZipInfo:
    if place not in members:
        raise BackboneError(
            f"The weights file lacks {place!r}, the storage of its tensor {name!r}. It is incomplete: download or save it again."
        )
    if members[place].file_size != storage.bytes:
        raise BackboneError(
            f"The storage {place!r} of the weights file has {members[place].file_size} bytes, and {storage.bytes} are described "
            f"({storage.length} values of {storage.kind}). The file is damaged: download or save it again."
        )
    return members[place]


def _refused(what: str, why: str) -> BackboneError:
    return BackboneError(f"The weights file {what}: {why}, and PyTorch writes no such file. It is refused: do not trust it.")


def _big_endian() -> BackboneError:
    return BackboneError(
        "The weights file was written on a big-endian machine, and only little-endian values are read. Load it "
        "in PyTorch and save it on a little-endian machine (any x86 or ARM)."
    )
