"""Features of given rows: whatever rows, columns and storage, what was written; and never NaN for a committed row."""

from __future__ import annotations

import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.reading.made import Made, ids
from trunkline import open_features
from trunkline.errors import CorruptStore
from trunkline.reading import feature_reader
from trunkline.reading.feature_reader import FeatureReader

COLUMNS = np.array([False, True, True, False, False, True])


@pytest.fixture(scope="module", params=["zarr", "hdf5"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """10 shards of 64 rows, half-precision features, row 200 is not there."""
    made = Made(tmp_path_factory.mktemp("made") / "store", format=request.param, dtype="float16")
    made.scan(ids("plum", 640))
    made.extract(bad={200})
    return made


@pytest.fixture
def reader(made: Made) -> FeatureReader:
    features = made.feature_set
    return FeatureReader(features.location, features.layout, "pool", features.arrays)


@pytest.mark.parametrize(
    "rows",
    [
        range(200),
        range(60, 70),
        [5],
        [],
        [0, 63, 64, 639],
        [row for row in range(640) if row != 200],
        range(201, 640, 3),
        [0, *range(500, 640)],
    ],
    ids=["run", "over an edge", "one", "none", "few", "with a hole", "every third", "far apart"],
)
@pytest.mark.parametrize("piece", [1, 2**20])
def test_any_rows(made: Made, reader: FeatureReader, rows: list[int], piece: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feature_reader, "PIECE_BYTES", piece)
    numbers = np.array(rows, np.int64)
    x = reader.read(numbers)
    assert (x.dtype, x.shape) == (np.float16, (len(rows), 6))
    np.testing.assert_array_equal(x, made.values(numbers))
    np.testing.assert_array_equal(reader.read(numbers, COLUMNS), made.values(numbers)[:, COLUMNS])


def test_shards_without_a_wanted_row_are_not_read(made: Made, reader: FeatureReader, monkeypatch: pytest.MonkeyPatch):
    read, asked = made.feature_set.arrays.read, []

    def watched(layer: str, start: int, stop: int, out: np.ndarray) -> np.ndarray:
        asked.append((start, stop))
        return read(layer, start, stop, out)

    monkeypatch.setattr(made.feature_set.arrays, "read", watched)
    reader.read(np.array([3, 70, 71, 600]))
    assert sorted(asked) == [(3, 72), (600, 601)]


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all columns", "some"])
@pytest.mark.parametrize("rows", [range(0, 640, 3), range(64 * feature_reader.THREADS)], ids=["gaps", "no gap"])
def test_a_few_pieces_are_read_at_once(
    made: Made, reader: FeatureReader, rows: range, columns: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feature_reader, "PIECE_BYTES", 1)
    read, lock, reading, most, targets = made.feature_set.arrays.read, threading.Lock(), 0, 0, set()
    together = threading.Barrier(feature_reader.THREADS, timeout=30)  # breaks, and fails the read, if they come one by one

    def watched(layer: str, start: int, stop: int, out: np.ndarray) -> np.ndarray:
        nonlocal reading, most
        with lock:
            reading += 1
            most = max(most, reading)
            targets.add(out.__array_interface__["data"][0])
        if start < 64 * feature_reader.THREADS:
            together.wait()
        read(layer, start, stop, out)
        with lock:
            reading -= 1
        return out

    monkeypatch.setattr(made.feature_set.arrays, "read", watched)
    numbers = np.array(rows)
    np.testing.assert_array_equal(
        reader.read(numbers, columns), made.values(numbers)[:, slice(None) if columns is None else columns]
    )
    assert most == len(targets) == feature_reader.THREADS  # no more blocks than threads, however many pieces there are


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all columns", "some"])
@pytest.mark.parametrize("step", [1, 3])
def test_an_error_of_a_piece_comes_out_and_leaves_no_thread(
    made: Made, reader: FeatureReader, step: int, columns: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feature_reader, "PIECE_BYTES", 1)
    read = made.feature_set.arrays.read

    def failing(layer: str, start: int, stop: int, out: np.ndarray) -> np.ndarray:
        if start >= 128:  # more pieces than there are threads
            raise CorruptStore(f"rows from {start} are damaged")
        return read(layer, start, stop, out)

    monkeypatch.setattr(made.feature_set.arrays, "read", failing)
    with pytest.raises(CorruptStore, match=r"rows from 1(28|29) are damaged"):
        reader.read(np.arange(0, 640, step), columns)
    assert not [each.name for each in threading.enumerate() if each.name.startswith("reading")]


def test_rows_are_cut_along_shards(reader: FeatureReader):
    rows = np.array([0, 1, 63, 64, 130, 191, 192, 600])
    assert reader.cut(rows, 1) == [(0, 3), (3, 4), (4, 6), (6, 7), (7, 8)]
    assert reader.cut(rows, 2 * reader.shard_bytes) == [(0, 4), (4, 7), (7, 8)]
    assert reader.cut(rows[:0], 1) == []


def test_a_row_that_reads_nan_is_refused(reader: FeatureReader):
    for columns in (None, COLUMNS):
        with pytest.raises(CorruptStore, match=r"Committed rows between 200 and 201 of .* read as NaN: an object is missing"):
            reader.read(np.array([10, 198, 200, 202]), columns)


def test_another_process_opens_it_again(made: Made, reader: FeatureReader):
    content = pickle.dumps(reader)
    assert len(content) < 1000
    np.testing.assert_array_equal(pickle.loads(content).read(np.arange(9)), made.values(np.arange(9)))


@pytest.mark.parametrize("format_", ["zarr", "hdf5"])
def test_missing_and_damaged_objects(tmp_path: Path, format_: str):
    made = Made(tmp_path / "store", format=format_)
    made.scan(ids("plum", 200))
    made.extract()
    places = sorted(Path(made.uri).glob("features.zarr/pool/c/*/0" if format_ == "zarr" else "parts/*.h5"))
    assert len(places) == 4
    aside = shutil.copy(places[1], tmp_path / "aside")
    places[1].unlink()
    with pytest.raises(CorruptStore, match=r"Committed rows between 64 and 128 of .* read as NaN"):
        open_features(made.place).numpy()
    assert len(open_features(made.place).numpy(rows=slice(128, None))[0]) == 72
    content = bytearray(Path(aside).read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    places[1].write_bytes(content)
    with pytest.raises((CorruptStore, OSError)):
        open_features(made.place).numpy()
