"""Small .npz objects, read quickly: `numpy.load` takes milliseconds for each, and a filter reads thousands of them.

They are what `numpy.savez` writes: a ZIP file of uncompressed .npy files, which `numpy.load` opens too.
Source of the formats: numpy.lib.format (NPY 1.0 and 2.0); PKWARE's APPNOTE.TXT, sections 4.3.7 (local headers) and 4.4.7 (CRC-32).
"""

from __future__ import annotations

import ast
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOCAL_HEADER = struct.Struct("<26xHH")  # of which the lengths of the name and of what follows it
LOCAL_HEADER_BYTES = 30
NPY = b"\x93NUMPY"


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """One object that holds these arrays by name."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    return out.getvalue()


def unpacked(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays by name, each a copy of its own.

    Raises
    ------
    Exception : of many kinds, as in any reader of ZIP files, where it is damaged, compressed, or holds anything but numbers and text.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
    return {member.filename.removesuffix(".npy"): _array(content, member) for member in members}


def _array(content: bytes, member: zipfile.ZipInfo) -> NDArray[Any]:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    start = member.header_offset + LOCAL_HEADER_BYTES + sum(LOCAL_HEADER.unpack_from(content, member.header_offset))
    stored = memoryview(content)[start : start + member.file_size]
    if zlib.crc32(stored) != member.CRC:
        raise ValueError(f"the checksum of {member.filename} is wrong")
    if stored[:6] != NPY:
        raise ValueError(f"{member.filename} is no array")
    sized = "<H" if stored[6] == 1 else "<I"
    first = 8 + struct.calcsize(sized)
    values = first + struct.unpack_from(sized, stored, 8)[0]
    dtype, order, shape = _described(bytes(stored[first:values]))
    return np.ndarray(shape, dtype, stored[values:], order=order).copy()


@lru_cache(maxsize=256)
def _described(header: bytes) -> tuple[np.dtype[Any], Any, tuple[int, ...]]:
    """What the header of an .npy file says; thousands of objects have the same few."""
    said = ast.literal_eval(header.decode("latin-1"))
    dtype = np.dtype(said["descr"])
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return dtype, "F" if said["fortran_order"] else "C", tuple(said["shape"])
