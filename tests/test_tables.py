"""Parquet objects: read whole or by group, and words for a broken one."""

from __future__ import annotations

import uuid

import pyarrow as pa
import pytest

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.tables import open_parquet, parquet_bytes

TABLE = pa.table({"row": list(range(2500)), "id": [f"{number}.jpg" for number in range(2500)]})


@pytest.fixture(params=["file", "memory"])
def place(request, tmp_path):
    root = tmp_path if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    return Location.of(root) / "table.parquet"


def test_a_table_is_read_back(place):
    place.write(parquet_bytes(TABLE))
    with open_parquet(place) as file:
        assert file.read().equals(TABLE)


def test_row_groups_have_the_size_asked_for(place):
    place.write(parquet_bytes(TABLE, 1024))
    with open_parquet(place) as file:
        assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [1024, 1024, 452]
        assert file.read_row_group(2)["row"].to_pylist() == list(range(2048, 2500))


def test_a_missing_one_is_missing_and_not_corrupt(place):
    with pytest.raises(FileNotFoundError), open_parquet(place):
        pass


@pytest.mark.parametrize("keep", [0, 3, 4, 100, 0.5, -1])
def test_a_truncated_one_is_corrupt(place, keep):
    content = parquet_bytes(TABLE)
    place.write(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    words = r"table\.parquet cannot be read as Parquet \(.*Restore it from a backup, or delete"
    with pytest.raises(CorruptStore, match=words), open_parquet(place):
        pass


def test_damage_inside_is_corrupt_when_it_is_read(place):
    content = bytearray(parquet_bytes(TABLE))
    content[4:1004] = bytes(1000)
    place.write(bytes(content))
    with pytest.raises(CorruptStore, match="something else has damaged it"), open_parquet(place) as file:
        file.read()
