"""Labels and splits: numbered files, of which the later one wins."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.manifests import said, say
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.tables import open_parquet
from trunkline.versions import Versions

changes = st.dictionaries(st.integers(0, 3000), st.one_of(st.none(), st.text(max_size=3)), max_size=20)


def fresh() -> Versions:
    return Versions(Location.of(f"memory://{uuid.uuid4().hex}/labels"), "label")


@given(st.lists(changes, max_size=5), st.integers(0, 3000))
def test_the_later_file_wins_as_in_a_dictionary(files, rows):
    versions, known = fresh(), {}
    for each in files:
        assert say(versions, each) == bool(each)
        known |= each
    assert said(versions, 0, rows) == [known.get(row) for row in range(rows)]
    assert len(versions.names()) == sum(bool(each) for each in files)


def test_nothing_is_known_where_nothing_was_written():
    assert said(fresh(), 0, 3) == [None, None, None]


def test_files_are_numbered_and_never_rewritten():
    versions = fresh()
    say(versions, {0: "apple"})
    first = (versions.folder / "000000.parquet").read()
    say(versions, {0: "pear", 1: "pear"})
    assert versions.names() == ["000000.parquet", "000001.parquet"]
    assert (versions.folder / "000000.parquet").read() == first
    assert said(versions, 0, 3) == ["pear", "pear", None]


def test_a_snapshot_names_its_files():
    versions = fresh()
    say(versions, {0: "apple"})
    names = versions.names()
    say(versions, {0: "pear"})
    assert versions.values(1, names).of(np.array([0])).tolist() == ["apple"]


def test_values_that_come_as_a_dictionary_are_the_same():
    versions = fresh()
    versions.append(np.array([1, 2, 3]), pa.array(["b", None, "b"]).dictionary_encode())
    values = versions.values(4)
    assert values.of(np.arange(4)).tolist() == [None, "b", None, "b"]
    assert values.names == ("b",)
    assert (values.codes == values.code("b")).tolist() == [False, True, False, True]
    assert not (values.codes == values.code("unknown")).any()


def test_of_many_writers_at_once_each_gets_a_number_of_its_own(tmp_path):
    versions, barrier = Versions(Location.of(tmp_path), "label"), threading.Barrier(8)

    def write(row: int) -> None:
        barrier.wait()
        say(versions, {row: f"label {row}", 100: f"by {row}"})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert versions.names() == [f"{number:06d}.parquet" for number in range(8)]
    found = said(versions, 0, 101)
    assert found[:8] == [f"label {row}" for row in range(8)]
    with open_parquet(versions.folder / "000007.parquet") as file:
        assert found[100] == file.read()["label"].to_pylist()[1]


def test_a_damaged_file_is_corrupt(tmp_path):
    versions = Versions(Location.of(tmp_path), "label")
    say(versions, {0: "apple"})
    (tmp_path / "000000.parquet").write_bytes(b"nonsense")
    with pytest.raises(CorruptStore, match=r"000000\.parquet cannot be read as Parquet"):
        said(versions, 0, 1)
