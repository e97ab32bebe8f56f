"""Labels and splits: numbered files, of which the later one wins."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.tables import open_parquet
from trunkline.versions import Versions

changes = st.dictionaries(st.integers(0, 3000), st.text(max_size=3), max_size=20)


def fresh() -> Versions:
    return Versions(Location.of(f"memory://{uuid.uuid4().hex}/labels"), "label")


@given(st.lists(changes, max_size=5), st.integers(0, 3000), st.integers(0, 1500))
def test_the_later_file_wins_as_in_a_dictionary(files, start, rows):
    versions, known = fresh(), {}
    for each in files:
        assert versions.append(sorted(each.items())) == bool(each)
        known |= each
    assert versions.read(start, start + rows) == [known.get(row) for row in range(start, start + rows)]
    assert len(versions.names()) == sum(bool(each) for each in files)


def test_nothing_is_known_where_nothing_was_written():
    assert fresh().read(5, 8) == [None, None, None]


def test_files_are_numbered_and_never_rewritten():
    versions = fresh()
    versions.append([(0, "apple")])
    first = (versions.folder / "000000.parquet").read()
    versions.append([(0, "pear"), (1, "pear")])
    assert versions.names() == ["000000.parquet", "000001.parquet"]
    assert (versions.folder / "000000.parquet").read() == first
    assert versions.read(0, 3) == ["pear", "pear", None]


def test_only_the_row_groups_that_can_hold_the_rows_are_opened(tmp_path, monkeypatch):
    versions = Versions(Location.of(tmp_path), "label")
    versions.append((row, f"label {row}") for row in range(5000))
    opened = []
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, group: opened.append(group) or whole(self, group))
    assert versions.read(1024, 2048) == [f"label {row}" for row in range(1024, 2048)]
    assert opened == [1]
    opened.clear()
    assert versions.read(1020, 1030) == [f"label {row}" for row in range(1020, 1030)]
    assert opened == [0, 1]


def test_of_many_writers_at_once_each_gets_a_number_of_its_own(tmp_path):
    versions, barrier = Versions(Location.of(tmp_path), "label"), threading.Barrier(8)

    def write(row: int) -> None:
        barrier.wait()
        versions.append([(row, f"label {row}"), (100, f"by {row}")])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert versions.names() == [f"{number:06d}.parquet" for number in range(8)]
    assert versions.read(0, 8) == [f"label {row}" for row in range(8)]
    with open_parquet(versions.folder / "000007.parquet") as file:
        assert versions.read(100, 101) == file.read()["label"].to_pylist()[1:]


def test_a_damaged_file_is_corrupt(tmp_path):
    versions = Versions(Location.of(tmp_path), "label")
    versions.append([(0, "apple")])
    (tmp_path / "000000.parquet").write_bytes(b"nonsense")
    with pytest.raises(CorruptStore, match=r"000000\.parquet cannot be read as Parquet"):
        versions.read(0, 1)
