"""What every kind of feature arrays does, seen through the protocol; and that plain tools read them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from tests.s3 import objects_in
from tests.store.examples import DIMS, features
from tests.stores import objects
from trunkline.locations import Location
from trunkline.shards import Shard, plan
from trunkline.store.arrays import FeatureArrays, open_arrays
from trunkline.store.layout import ArrayLayout

ROWS = 200
SHARDS = list(plan([(0, ROWS)], 64))


KEPT = {"late": (5, 1, 1)}  # feature maps that are stored as maps


@pytest.fixture(params=["zarr", "hdf5", "zarr-maps", "hdf5-maps", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def layout(kind: str) -> ArrayLayout:
    return ArrayLayout("hdf5" if kind.startswith("hdf5") else "zarr", 64, DIMS, maps=KEPT if kind.endswith("maps") else {})


@pytest.fixture
def folder(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if kind == "s3":
        bucket: Location = request.getfixturevalue("bucket")
        return bucket / "set"
    return Location.of(tmp_path / "set")


@pytest.fixture
def arrays(folder: Location, layout: ArrayLayout) -> FeatureArrays:
    made = open_arrays(folder, layout)
    made.grow(ROWS)
    return made


def plain(arrays: FeatureArrays, layer: str) -> np.ndarray:
    """What a tool that knows nothing of trunkline reads, maps laid out flat."""
    whole = plain_array(arrays, layer)
    return whole.reshape(len(whole), -1)


def plain_array(arrays: FeatureArrays, layer: str) -> np.ndarray:
    if arrays.uri().endswith(".h5"):
        with h5py.File(arrays.uri(), "r") as file:
            return file[layer][:]
    return zarr.open(arrays.uri(), mode="r")[layer][:]  # of S3 too it knows no more than the environment says


def expected(layer: str, rows: int, *written: Shard) -> np.ndarray:
    out = np.full((rows, DIMS[layer]), np.nan, np.float32)
    for shard in written:
        out[shard.start : shard.stop] = features(shard)[layer]
    return out


def data_objects(folder: Location) -> dict[str, object]:
    found = objects(folder.path) if folder.is_local else objects_in(folder)
    return {name: what for name, what in found.items() if not name.endswith(("zarr.json", "features.h5"))}


@pytest.mark.parametrize("layer", DIMS)
def test_unwritten_rows_are_nan(arrays: FeatureArrays, layer: str):
    np.testing.assert_array_equal(arrays.read(layer, 0, ROWS), expected(layer, ROWS))
    assert arrays.read(layer, 0, ROWS).dtype == np.float32


@pytest.mark.parametrize("layer", DIMS)
def test_written_rows_are_read_by_another_process_object(
    arrays: FeatureArrays, folder: Location, layout: ArrayLayout, layer: str
):
    for shard in (SHARDS[2], SHARDS[0], SHARDS[3]):  # any order, the last one short
        arrays.write(shard, features(shard))
    other = open_arrays(folder, layout)
    np.testing.assert_array_equal(other.read(layer, 0, ROWS), expected(layer, ROWS, SHARDS[0], SHARDS[2], SHARDS[3]))


def test_a_read_may_start_and_stop_anywhere(arrays: FeatureArrays):
    for shard in SHARDS:
        arrays.write(shard, features(shard))
    whole = expected("late", ROWS, *SHARDS)
    for start, stop in ((0, 1), (63, 65), (50, 150), (128, 192), (199, 200), (70, 70)):
        np.testing.assert_array_equal(arrays.read("late", start, stop), whole[start:stop])


def test_rows_are_read_into_memory_that_is_given(arrays: FeatureArrays):
    arrays.write(SHARDS[0], features(SHARDS[0]))
    held = np.zeros((120, DIMS["late"]), np.float32)
    assert np.shares_memory(arrays.read("late", 20, 100, held[10:90]), held)
    np.testing.assert_array_equal(held[10:90], expected("late", ROWS, SHARDS[0])[20:100])  # unwritten rows as NaN
    assert not held[:10].any()
    assert not held[90:].any()


def test_what_is_written_after_a_read_is_read(arrays: FeatureArrays):
    arrays.write(SHARDS[0], features(SHARDS[0]))
    arrays.read("late", 0, 64)
    arrays.write(SHARDS[1], features(SHARDS[1]))
    np.testing.assert_array_equal(arrays.read("late", 0, 128), expected("late", 128, *SHARDS[:2]))


def test_growing_leaves_committed_objects_untouched(arrays: FeatureArrays, folder: Location):
    for shard in SHARDS:
        arrays.write(shard, features(shard))
    arrays.seal(SHARDS)
    before = data_objects(folder)
    assert len(before) >= len(SHARDS)
    arrays.grow(1024 + 64)
    later = Shard(1024, 1088)
    arrays.write(later, features(later))
    arrays.seal([*SHARDS, later])
    after = data_objects(folder)
    assert {name: after.get(name) for name in before} == before
    assert len(after) > len(before)
    np.testing.assert_array_equal(arrays.read("early", 0, 1088), expected("early", 1088, *SHARDS, later))


def test_growing_again_to_the_same_or_fewer_rows_loses_nothing(arrays: FeatureArrays):
    arrays.write(SHARDS[3], features(SHARDS[3]))
    arrays.grow(ROWS)
    arrays.grow(64)
    np.testing.assert_array_equal(arrays.read("late", 0, ROWS), expected("late", ROWS, SHARDS[3]))


def test_writing_again_gives_the_same(arrays: FeatureArrays):
    """A run that died between the features and the commit record writes its shard again."""
    for _ in range(2):
        arrays.write(SHARDS[1], features(SHARDS[1]))
    np.testing.assert_array_equal(arrays.read("late", 0, ROWS), expected("late", ROWS, SHARDS[1]))


@pytest.mark.parametrize("layer", DIMS)
def test_plain_tools_read_equal_values(arrays: FeatureArrays, layer: str):
    for shard in (SHARDS[0], SHARDS[3]):
        arrays.write(shard, features(shard))
    arrays.seal([SHARDS[0], SHARDS[3]])
    seen = plain(arrays, layer)
    np.testing.assert_array_equal(seen, expected(layer, ROWS, SHARDS[0], SHARDS[3]))
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, arrays.read(layer, 0, ROWS))


def test_plain_tools_read_maps_as_maps(arrays: FeatureArrays, layout: ArrayLayout):
    arrays.write(SHARDS[0], features(SHARDS[0]))
    arrays.seal([SHARDS[0]])
    assert plain_array(arrays, "late").shape == (ROWS, *layout.shape("late"))
    assert plain_array(arrays, "early").shape == (ROWS, 3)


def test_plain_tools_see_new_rows_as_nan_once_grown(arrays: FeatureArrays):
    arrays.write(SHARDS[0], features(SHARDS[0]))
    arrays.seal([SHARDS[0]])
    arrays.grow(1100)
    np.testing.assert_array_equal(plain(arrays, "late"), expected("late", 1100, SHARDS[0]))


def test_what_was_sealed_is_sealed(arrays: FeatureArrays, folder: Location, layout: ArrayLayout):
    for shard in SHARDS[:3]:
        arrays.write(shard, features(shard))
    arrays.seal(SHARDS[:3])
    assert arrays.is_sealed(SHARDS[:3])
    assert open_arrays(folder, layout).is_sealed(SHARDS[:3])


def test_zarr_keeps_one_object_a_shard_and_layer(tmp_path: Path):
    arrays = open_arrays(Location.of(tmp_path), ArrayLayout("zarr", 64, DIMS))
    arrays.grow(ROWS)
    for shard in SHARDS:
        arrays.write(shard, features(shard))
    assert len(data_objects(Location.of(tmp_path))) == len(SHARDS) * len(DIMS)
    array = zarr.open(arrays.uri(), mode="r")["late"]
    assert array.shards == (64, DIMS["late"])
    assert array.metadata.dimension_names == ("row", "feature")


def test_a_shard_that_a_dead_run_left_torn_is_written_anew(arrays: FeatureArrays, folder: Location):
    arrays.write(SHARDS[1], features(SHARDS[1]))
    for name in data_objects(folder):
        (folder / name).write((folder / name).read()[:100])
    arrays.write(SHARDS[1], features(SHARDS[1]))
    np.testing.assert_array_equal(arrays.read("late", 0, ROWS), expected("late", ROWS, SHARDS[1]))


def test_zarr_lies_in_any_fsspec_storage():
    arrays = open_arrays(Location("memory://contract/set"), ArrayLayout("zarr", 64, DIMS))
    arrays.grow(ROWS)
    arrays.write(SHARDS[1], features(SHARDS[1]))
    other = open_arrays(Location("memory://contract/set"), ArrayLayout("zarr", 64, DIMS))
    np.testing.assert_array_equal(other.read("late", 0, ROWS), expected("late", ROWS, SHARDS[1]))


def test_zarr_names_the_axes_of_maps_and_cuts_wide_rows_into_small_chunks(tmp_path: Path):
    maps = {"late": (7, 7, 512)}
    arrays = open_arrays(Location.of(tmp_path), ArrayLayout("zarr", 64, {"late": 25_088}, maps=maps))
    arrays.grow(64)
    array = zarr.open(arrays.uri(), mode="r")["late"]
    assert array.metadata.dimension_names == ("row", "height", "width", "channel")
    assert (array.shards, array.chunks) == ((64, 7, 7, 512), (32, 7, 7, 512))  # 3.1 MiB a chunk


def relative(arrays: FeatureArrays, folder: Location, shard: Shard) -> list[str]:
    return [place.uri.removeprefix(f"{folder}/") for place in arrays.objects_of(shard)]


def test_objects_and_the_rows_they_hold_are_known_by_name(arrays: FeatureArrays, folder: Location, layout: ArrayLayout):
    for shard in SHARDS:
        arrays.write(shard, features(shard))
    named = {name: shard for shard in SHARDS for name in relative(arrays, folder, shard)}
    assert set(named) == set(data_objects(folder))
    assert len(named) == len(SHARDS) * (len(DIMS) if layout.format == "zarr" else 1)
    for name, shard in named.items():
        rows = arrays.rows_of(name)
        assert rows is not None
        assert rows[0] == shard.start
        assert shard.stop <= rows[1] <= shard.start + 64
    for stranger in (
        "features.zarr/late/c/x/0",
        "features.zarr/other/c/0/0",
        "features.zarr/late/c/0",
        "parts/notes.txt",
        "a.h5",
    ):
        assert arrays.rows_of(stranger) is None


def test_replacing_needs_nothing_of_what_was_there(arrays: FeatureArrays, folder: Location, layout: ArrayLayout):
    for shard in SHARDS:
        arrays.write(shard, features(shard))
    before = data_objects(folder)
    for shard in (SHARDS[1], SHARDS[3]):  # the last one short
        for name in relative(arrays, folder, shard):
            (folder / name).write((folder / name).read()[:40])
        arrays.replace(shard, features(shard))
    other = open_arrays(folder, layout)
    for layer in DIMS:
        np.testing.assert_array_equal(other.read(layer, 0, ROWS), expected(layer, ROWS, *SHARDS))
    untouched = [name for shard in (SHARDS[0], SHARDS[2]) for name in relative(arrays, folder, shard)]
    assert {name: data_objects(folder)[name] for name in untouched} == {name: before[name] for name in untouched}


def test_replacing_by_nothing_reads_as_nothing(arrays: FeatureArrays):
    arrays.write(SHARDS[0], features(SHARDS[0]))
    arrays.replace(SHARDS[0], {layer: np.full((64, dim), np.nan, np.float32) for layer, dim in DIMS.items()})
    np.testing.assert_array_equal(arrays.read("late", 0, ROWS), expected("late", ROWS))


def test_headers_that_are_whole_are_not_broken(arrays: FeatureArrays, folder: Location, layout: ArrayLayout):
    arrays.write(SHARDS[0], features(SHARDS[0]))
    assert arrays.broken_headers(ROWS) == {}
    assert arrays.unlinked(SHARDS[:1]) == ([] if layout.format == "zarr" else SHARDS[:1])
    arrays.seal(SHARDS[:1])
    assert arrays.unlinked(SHARDS[:1]) == []
    headers = ["features.h5", "features.zarr/zarr.json", *(f"features.zarr/{layer}/zarr.json" for layer in DIMS)]
    for name in headers:
        (folder / name).remove()
    assert set(open_arrays(folder, layout).broken_headers(ROWS)) == {
        folder / name
        for name in (
            ["features.zarr/zarr.json", *(f"features.zarr/{layer}/zarr.json" for layer in DIMS)]
            if layout.format == "zarr"
            else ["features.h5"]
        )
    }
