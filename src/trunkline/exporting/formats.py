"""Writing an export: each format takes the content's blocks, one after the other, and never holds more than one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.exporting.content import INDEX, Content

Done = Callable[[int], None]  # is told how many rows are written
TEXTS = INDEX[1:]


def write_hdf5(paths: Sequence[Path], content: Content, done: Done) -> None:
    """One file: `features` contiguous and unfiltered, `row` int64, `id`, `label`, `split`, `sha256` UTF-8, '' where there is none.

    Made with the oldest file format that carries it, so that any HDF5 library since 1.8 opens it; `columns` where a mask was applied.
    """
    (path,) = paths
    count = len(content.rows)
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs.update(content.said)
        features = file.create_dataset("features", content.shape, content.dtype)
        rows = file.create_dataset("row", (count,), np.int64)
        texts = {name: file.create_dataset(name, (count,), h5py.string_dtype("utf-8")) for name in TEXTS}
        if content.columns is not None:
            file.create_dataset("columns", data=content.columns)
        for block in content.blocks():
            features[block.first : block.last] = block.features.reshape(-1, *content.shape[1:])
            rows[block.first : block.last] = block.index["row"].to_numpy()
            for name, dataset in texts.items():
                dataset[block.first : block.last] = [value or "" for value in block.index[name].to_pylist()]
            done(block.last)


def write_parquet(paths: Sequence[Path], content: Content, done: Done) -> None:
    """One file: `row`, `id`, `label`, `split`, `sha256`, and `features` as lists of one length; a row group a block."""
    (path,) = paths
    kind = pa.list_(pa.from_numpy_dtype(content.dtype), content.width)
    schema = _index_schema(content).append(pa.field("features", kind, nullable=False))
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=["label", "split"], write_statistics=["row"]
    ) as file:
        for block in content.blocks():
            values = pa.FixedSizeListArray.from_arrays(pa.array(block.features.reshape(-1)), content.width)
            columns = [*(block.index[name].combine_chunks() for name in INDEX), values]
            file.write_table(pa.table(columns, schema), row_group_size=block.last - block.first)
            done(block.last)


def write_npy(paths: Sequence[Path], content: Content, done: Done) -> None:
    """`features` alone, and a Parquet file beside it with `row`, `id`, `label`, `split` and `sha256` of each row.

    The file is written from front to back instead of through a memory map, which a full disk would end with a bus error.
    """
    path, beside = paths
    header = {"descr": np.lib.format.dtype_to_descr(content.dtype), "fortran_order": False, "shape": content.shape}
    schema = _index_schema(content)
    with path.open("wb") as file, pq.ParquetWriter(beside, schema, compression="zstd") as index:
        np.lib.format.write_array_header_1_0(file, header)
        for block in content.blocks():
            file.write(np.ascontiguousarray(block.features).data)
            index.write_table(block.index.cast(schema))
            done(block.last)


def _index_schema(content: Content) -> pa.Schema:
    said: Mapping[str, Any] = content.said
    if content.columns is not None:
        said = {**said, "columns": json.dumps(content.columns.tolist())}
    fields = [pa.field("row", pa.int64(), nullable=False), *(pa.field(name, pa.string()) for name in TEXTS)]
    return pa.schema(fields, metadata=said)


WRITERS: Mapping[str, Callable[[Sequence[Path], Content, Done], None]] = {
    "hdf5": write_hdf5,
    "parquet": write_parquet,
    "npy": write_npy,
}
SUFFIXES = {".h5": "hdf5", ".hdf5": "hdf5", ".parquet": "parquet", ".pq": "parquet", ".npy": "npy"}
