"""Quick .npz objects: what NumPy writes is read, what we write NumPy reads, and damage is never read."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from trunkline import npz

ARRAYS = {
    "a/count": np.array(7),
    "a/mean": np.linspace(0, 1, 5),
    "flags": np.array([True, False]),
    "said": np.array('{"über": 1}'),
    "columns first": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "nothing": np.empty((0, 4), np.uint8),
}


def same(found: dict[str, np.ndarray]) -> None:
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_what_is_packed_is_unpacked():
    same(npz.unpacked(npz.packed(ARRAYS)))


def test_numpy_reads_it_too():
    with np.load(io.BytesIO(npz.packed(ARRAYS)), allow_pickle=False) as file:
        same(dict(file))


def test_arrays_may_be_changed_and_are_aligned():
    found = npz.unpacked(npz.packed(ARRAYS))["a/mean"]
    found[0] = 3.0
    assert found.flags.aligned


@pytest.mark.parametrize("at", [100, 200, 400, 700])
def test_every_changed_bit_of_an_array_is_found(at):
    content = bytearray(npz.packed({"x": np.arange(100.0)}))
    content[at] ^= 1
    with pytest.raises(ValueError, match=r"the checksum of x\.npy is wrong"):
        npz.unpacked(bytes(content))


def zipped(name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def test_what_is_not_ours_is_refused():
    with pytest.raises(ValueError, match=r"x\.npy is compressed"):
        npz.unpacked(zipped("x.npy", b"0" * 100, zipfile.ZIP_DEFLATED))
    with pytest.raises(ValueError, match=r"notes\.txt is no array"):
        npz.unpacked(zipped("notes.txt", b"hello world"))
    objects = io.BytesIO()
    np.save(objects, np.array([{"an": "object"}], object))
    with pytest.raises(ValueError, match="it holds Python objects"):
        npz.unpacked(zipped("x.npy", objects.getvalue()))


def test_a_header_that_promises_more_than_there_is():
    whole = io.BytesIO()
    np.save(whole, np.arange(10.0))
    with pytest.raises(TypeError, match="buffer is too small"):
        npz.unpacked(zipped("x.npy", whole.getvalue()[:-8]))
