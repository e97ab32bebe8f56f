"""Weight files: the real one is read whole; hostile and broken ones are refused, and nothing in them is ever run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.backbones.catalogue import find
from trunkline.backbones.efficientnet_lite import SCALES, blocks
from trunkline.backbones.torch_files import MAGIC, read_state_dict
from trunkline.errors import BackboneError


class Storage:
    """Stands for a torch storage while a file is written."""

    def __init__(self, key: str, kind: str, values: np.ndarray) -> None:
        self.key, self.kind, self.values = key, kind, values


class Tensor:
    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.parts = (storage, offset, shape, strides)

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (*self.parts, False, OrderedDict())


class _Pickler(pickle.Pickler):
    word = "storage"

    def persistent_id(self, thing: object) -> Any:
        if isinstance(thing, Storage):
            kind = getattr(sys.modules["torch"], thing.kind)
            return (self.word, kind, thing.key, "cpu", len(thing.values), None)
        return None


@pytest.fixture
def fake_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that a real file refers to, for writing files; reading needs none of them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "DoubleStorage", "HalfStorage", "LongStorage", "BFloat16Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    function = types.FunctionType((lambda *_: None).__code__, {}, "_rebuild_tensor_v2")
    function.__module__, function.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def file_of(state: Any, storages: list[Storage], magic: int = MAGIC, pickler: type[_Pickler] = _Pickler) -> bytes:
    out = io.BytesIO()
    for head in (magic, 1001, {"little_endian": True}, state, [storage.key for storage in storages]):
        pickler(out, 2).dump(head)
    for storage in storages:
        out.write(struct.pack("<q", len(storage.values)) + storage.values.tobytes())
    return out.getvalue()


def read(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return read_state_dict(path)


FLOATS = np.arange(12, dtype=np.float32)


def simple() -> bytes:
    storage = Storage("a", "FloatStorage", FLOATS)
    return file_of(OrderedDict(w=Tensor(storage, 0, (3, 4), (4, 1))), [storage])


def test_the_installed_weights_are_the_published_network():
    state = read_state_dict(find("efficientnet-lite0").weights_path())
    learned = {name: value for name, value in state.items() if name.rsplit(".", 1)[-1] in ("weight", "bias")}
    assert sum(value.size for value in learned.values()) == 4_652_008
    assert all(np.isfinite(value).all() and value.dtype == np.float32 for value in learned.values())
    assert all((value >= 0).all() for name, value in state.items() if name.endswith("running_var"))
    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["_fc.weight"].shape == (1000, 1280)
    assert sum(name.endswith("_depthwise_conv.weight") for name in state) == len(list(blocks(SCALES["efficientnet-lite0"])))


@pytest.mark.usefixtures("fake_torch")
def test_tensors_of_every_type_and_stride_are_read(tmp_path):
    floats, doubles = Storage("f", "FloatStorage", FLOATS), Storage("d", "DoubleStorage", np.linspace(0, 1, 5))
    halves, longs = Storage("h", "HalfStorage", FLOATS.astype(np.float16)), Storage("l", "LongStorage", np.array([-7, 2**40]))
    state = OrderedDict(
        whole=Tensor(floats, 0, (3, 4), (4, 1)),
        transposed=Tensor(floats, 0, (4, 3), (1, 4)),
        part=Tensor(floats, 5, (2, 2), (4, 2)),
        repeated=Tensor(floats, 3, (2, 3), (0, 1)),
        scalar=Tensor(longs, 1, (), ()),
        empty=Tensor(floats, 12, (0, 4), (4, 1)),
        doubles=Tensor(doubles, 1, (4,), (1,)),
        halves=Tensor(halves, 0, (12,), (1,)),
    )
    found = read(file_of(state, [floats, doubles, halves, longs]), tmp_path)
    square = FLOATS.reshape(3, 4)
    expected = {
        "whole": square,
        "transposed": square.T,
        "part": FLOATS[[[5, 7], [9, 11]]],
        "repeated": FLOATS[[[3, 4, 5], [3, 4, 5]]],
        "scalar": np.array(2**40),
        "empty": np.empty((0, 4), np.float32),
        "doubles": np.linspace(0, 1, 5)[1:],
        "halves": FLOATS.astype(np.float16),
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, strict=True)
        assert found[name].flags.owndata


class Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("place", ["magic", "state", "value", "alone"])
def test_a_file_that_carries_code_is_refused_and_nothing_runs(tmp_path, place):
    flag = tmp_path / "it ran"
    evil = Evil(os.system, f"touch '{flag}'")
    assert pickle.loads(pickle.dumps(evil)) == 0
    assert flag.exists()  # the attack works on an unpickler that is not restricted
    flag.unlink()
    storage = Storage("a", "FloatStorage", FLOATS)
    tensor = Tensor(storage, 0, (12,), (1,))
    content = {
        "magic": lambda: file_of(OrderedDict(w=tensor), [storage], magic=evil),  # type: ignore[arg-type]
        "state": lambda: file_of(evil, [storage]),
        "value": lambda: file_of(OrderedDict(w=tensor, x=evil), [storage]),
        "alone": lambda: pickle.dumps(evil),
    }[place]()
    with pytest.raises(BackboneError, match=r"asks for (posix|nt)\.system, which a state dict never needs\. It is refused"):
        read(content, tmp_path)
    assert not flag.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("collections", "deque"),
        ("torch", "load"),
        ("torch", "FloatStorage.__class__"),
        ("torch._utils", "_rebuild_parameter"),
        ("numpy", "load"),
        ("trunkline.backbones.torch_files", "read_state_dict"),
    ],
)
def test_every_other_name_is_refused(tmp_path, module, name):
    content = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name)) + b"\x93."
    with pytest.raises(BackboneError, match=rf"asks for {module}\.{name}, which a state dict never needs"):
        read(content, tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (-1, (2,), (1,)),
        (12, (), ()),
        (0, (3, 4), (5, 1)),
        (0, (2,), (10**9,)),
        (11, (2,), (-1,)),
        (0, (10**6, 10**6), (10**6, 1)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, offset, shape, strides):
    storage = Storage("a", "FloatStorage", FLOATS)
    with pytest.raises(BackboneError, match="A tensor of the weights file lies outside its storage; the file is damaged"):
        read(file_of(OrderedDict(w=Tensor(storage, offset, shape, strides)), [storage]), tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(("shape", "strides"), [((-1,), (1,)), ((2, 2), (1,)), ((1.5,), (1,)), (("x",), (1,))])
def test_a_tensor_of_impossible_shape_is_refused(tmp_path, shape, strides):
    storage = Storage("a", "FloatStorage", FLOATS)
    with pytest.raises(BackboneError, match="is not a PyTorch state dict of the old format, or is damaged"):
        read(file_of(OrderedDict(w=Tensor(storage, 0, shape, strides)), [storage]), tmp_path)


@pytest.mark.usefixtures("fake_torch")
def test_references_to_anything_but_storages_are_refused(tmp_path):
    class Module(_Pickler):
        word = "module"

    storage = Storage("a", "FloatStorage", FLOATS)
    with pytest.raises(BackboneError, match=r"The weights file refers to a 'module'; only storages are read"):
        read(file_of(OrderedDict(w=Tensor(storage, 0, (12,), (1,))), [storage], pickler=Module), tmp_path)


@pytest.mark.usefixtures("fake_torch")
def test_a_type_that_numpy_lacks_is_refused(tmp_path):
    storage = Storage("a", "BFloat16Storage", FLOATS)
    with pytest.raises(BackboneError, match=r"asks for torch\.BFloat16Storage"):
        read(file_of(OrderedDict(w=Tensor(storage, 0, (12,), (1,))), [storage]), tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", r"damaged \(Ran out of input\)"),
        (lambda: b"PK\x03\x04" + bytes(50), "is not a PyTorch state dict of the old format"),
        (lambda: file_of(OrderedDict(), [], magic=7), r"damaged \(wrong magic number\)"),
        (lambda: file_of(OrderedDict(w=3), []), "is not a PyTorch state dict"),
        (lambda: file_of([1, 2], []), "is not a PyTorch state dict"),
        (lambda: file_of(OrderedDict(w=Tensor(Storage("b", "FloatStorage", FLOATS), 0, (12,), (1,))), []), r"damaged \('b'\)"),
        (lambda: simple()[:-1], r"damaged \(it ends in the middle of a storage\)"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, words):
    with pytest.raises(BackboneError, match=words):
        read(content(), tmp_path)


@pytest.mark.usefixtures("fake_torch")
def test_a_file_cut_anywhere_is_refused(tmp_path):
    content = simple()
    np.testing.assert_array_equal(read(content, tmp_path)["w"], FLOATS.reshape(3, 4))
    for cut in range(len(content)):
        with pytest.raises(BackboneError, match=r"is not a PyTorch state dict|lies outside its storage"):
            read(content[:cut], tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.usefixtures("fake_torch")
def test_flipped_bytes_give_arrays_or_a_refusal(tmp_path, seed):
    content, rng = bytearray(simple()), np.random.default_rng(seed)
    for at in rng.integers(0, len(content) - 48, 2):
        content[at] = rng.integers(0, 256)
    try:
        found = read(bytes(content), tmp_path)
    except BackboneError:
        return
    assert all(isinstance(value, np.ndarray) for value in found.values())


@pytest.mark.parametrize(("name", "words"), [("nothing", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_said(tmp_path, name, words):
    with pytest.raises(BackboneError, match=rf"Cannot read the weights file .*: {words}"):
        read_state_dict(tmp_path / name)
