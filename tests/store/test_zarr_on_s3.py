"""Zarr on S3: one request an object, and a request that fails is an error or tried again, never a row of NaN."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.faults import KINDS, FaultyEndpoint
from trunkline.errors import CorruptStore, StorageError, StorageUnreachable
from trunkline.locations import Location, filesystem
from trunkline.s3 import ATTEMPTS
from trunkline.shards import Shard, plan
from trunkline.store.arrays import FeatureArrays, open_arrays
from trunkline.store.layout import ArrayLayout

Faulty = Callable[..., FaultyEndpoint]
ROWS, ROWS_PER_SHARD, DIM = 1000, 256, 40
LAYOUT = ArrayLayout("zarr", ROWS_PER_SHARD, {"late": DIM})
SHARDS = list(plan([(0, ROWS)], ROWS_PER_SHARD))
VALUES = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)


def write_all(arrays: FeatureArrays) -> None:
    arrays.grow(ROWS)
    for shard in SHARDS:
        arrays.write(shard, {"late": VALUES[shard.start : shard.stop]})


@pytest.fixture
def folder(bucket: Location) -> Location:
    write_all(open_arrays(bucket / "set", LAYOUT))
    return bucket / "set"


def data_requests(endpoint: FaultyEndpoint) -> list[str]:
    return [method for method, path in endpoint.asked if "/late/c/" in path]


def test_a_shard_is_written_in_one_request(bucket: Location, faulty: Faulty):
    endpoint = faulty()
    write_all(open_arrays(bucket / "set", LAYOUT))
    assert data_requests(endpoint) == ["PUT"] * len(SHARDS)


def test_a_whole_shard_is_read_in_one_request_and_a_few_rows_in_two(folder: Location, faulty: Faulty):
    arrays = open_arrays(folder, LAYOUT)
    endpoint = faulty()
    np.testing.assert_array_equal(arrays.read("late", 256, 512), VALUES[256:512])
    assert data_requests(endpoint) == ["GET"]
    np.testing.assert_array_equal(arrays.read("late", 5, 7), VALUES[5:7])
    assert data_requests(endpoint) == ["GET"] * 3  # and the index of the shard, and the chunk
    assert not [path for method, path in endpoint.asked if method != "GET"]


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_are_equal_bit_for_bit_under_faults(kind: str, bucket: Location, faulty: Faulty):
    endpoint = faulty(rate=0.3, kinds=(kind,), seed=4)
    write_all(open_arrays(bucket / "set", LAYOUT))
    reader = open_arrays(bucket / "set", LAYOUT)
    np.testing.assert_array_equal(reader.read("late", 0, ROWS), VALUES)
    for start in (0, 100, 500, 900):
        np.testing.assert_array_equal(reader.read("late", start, start + 90), VALUES[start : start + 90])
    assert endpoint.done[kind] > 2


@pytest.mark.parametrize(("start", "stop"), [(0, ROWS), (3, 4)])
@pytest.mark.parametrize("kind", ["500", "503", "reset", "truncated"])
def test_a_read_that_fails_for_good_is_an_error_and_not_nan(kind: str, start: int, stop: int, folder: Location, faulty: Faulty):
    arrays = open_arrays(folder, LAYOUT)
    arrays.read("late", 0, 1)
    endpoint = faulty()
    endpoint.fail(kind, "GET", "/late/c/0/0", times=10 * ATTEMPTS**2)
    with pytest.raises(StorageUnreachable, match=r"features\.zarr cannot be reached .*start the same command again"):
        open_arrays(folder, LAYOUT).read("late", start, stop)
    assert endpoint.done[kind] >= ATTEMPTS


def test_a_refused_read_and_write_are_errors(folder: Location, faulty: Faulty):
    endpoint = faulty()
    endpoint.fail("403", "GET", "/late/c/0/0")
    with pytest.raises(StorageError, match=r"features\.zarr is refused \(PermissionError"):
        open_arrays(folder, LAYOUT).read("late", 0, 10)
    endpoint.fail("403", "PUT", "/late/c/0/0")
    with pytest.raises(StorageError, match=r"features\.zarr is refused \(PermissionError"):
        open_arrays(folder, LAYOUT).write(SHARDS[0], {"late": VALUES[:ROWS_PER_SHARD]})


def test_a_bucket_that_went_away_is_an_error_and_not_nan(bucket: Location, folder: Location):
    arrays = open_arrays(folder, LAYOUT)
    arrays.read("late", 0, 1)
    filesystem("s3").rm(bucket.uri, recursive=True)
    with pytest.raises(StorageError, match=r"There is no bucket 'trunkline-"):
        arrays.read("late", 0, ROWS)


def test_only_an_object_that_is_not_there_reads_as_nan(folder: Location):
    (folder / "features.zarr/late/c/1/0").remove()
    read = open_arrays(folder, LAYOUT).read("late", 0, ROWS)
    assert np.isnan(read[256:512]).all()
    np.testing.assert_array_equal(np.delete(read, np.s_[256:512], 0), np.delete(VALUES, np.s_[256:512], 0))


def test_a_damaged_object_is_said(folder: Location):
    place = folder / "features.zarr/late/c/1/0"
    content = bytearray(place.read())
    content[50] ^= 255
    place.write(bytes(content))
    with pytest.raises(CorruptStore, match=r"Rows 0 to 1000 of .*late are damaged"):
        open_arrays(folder, LAYOUT).read("late", 0, ROWS)


def test_many_threads_read_under_faults(folder: Location, faulty: Faulty):
    endpoint = faulty(rate=0.1, seed=6)
    arrays = open_arrays(folder, LAYOUT)

    def read(start: int) -> None:
        np.testing.assert_array_equal(arrays.read("late", start, start + 150), VALUES[start : start + 150])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, [number * 17 % 850 for number in range(96)]))
    assert sum(endpoint.done.values()) > 10


def test_growing_sees_what_another_process_has_grown(folder: Location):
    first, second = open_arrays(folder, LAYOUT), open_arrays(folder, LAYOUT)
    first.grow(2000)
    second.grow(1500)
    assert json.loads((folder / "features.zarr/late/zarr.json").read())["shape"] == [2000, DIM]
    later = Shard(1024, 1280)
    second.write(later, {"late": VALUES[:256]})
    np.testing.assert_array_equal(first.read("late", 1024, 1280), VALUES[:256])
