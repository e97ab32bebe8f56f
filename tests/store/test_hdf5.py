"""What HDF5 alone has to take care of: too many files, missing files, merges that were interrupted."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.store.examples import DIMS, features
from trunkline.errors import CorruptStore, StoreError
from trunkline.locations import Location
from trunkline.shards import Shard, plan
from trunkline.store import hdf5
from trunkline.store.arrays import open_arrays
from trunkline.store.hdf5 import Hdf5Arrays
from trunkline.store.layout import ArrayLayout

LAYOUT = ArrayLayout("hdf5", 64, DIMS)
ROWS = 20 * 64 - 10
SHARDS = list(plan([(0, ROWS)], 64))


@pytest.fixture
def arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hdf5Arrays:
    """Twenty parts where at most eight files are allowed."""
    monkeypatch.setattr(hdf5, "MAX_FILES", 8)
    made = Hdf5Arrays(Location.of(tmp_path), LAYOUT)
    made.grow(ROWS)
    for shard in SHARDS:
        made.write(shard, features(shard))
    return made


def whole(shards: list[Shard] = SHARDS) -> np.ndarray:
    return np.concatenate([features(shard)["late"] for shard in shards])


def linked(folder: Path) -> list[str]:
    with h5py.File(folder / "features.h5", "r") as file:
        return [source.file_name for source in file["late"].virtual_sources()] if file["late"].is_virtual else []


def plain(folder: Path) -> np.ndarray:
    with h5py.File(folder / "features.h5", "r") as file:
        return file["late"][:]


@pytest.mark.parametrize("root", ["memory://store/set", "s3://bucket/set"])
def test_only_a_local_disk_carries_hdf5(root: str):
    scheme = root.split(":")[0]
    with pytest.raises(StoreError, match=rf"HDF5 cannot be written to {scheme}:// .*Use --format zarr there"):
        open_arrays(Location(root), LAYOUT)


def test_what_was_not_sealed_is_not_sealed(arrays: Hdf5Arrays, tmp_path: Path):
    assert not arrays.is_sealed(SHARDS)
    arrays.seal(SHARDS)
    assert arrays.is_sealed(SHARDS)
    later = Shard(2048, 2112)
    arrays.write(later, features(later))
    assert not arrays.is_sealed([*SHARDS, later])
    (tmp_path / "features.h5").unlink()
    assert not arrays.is_sealed(SHARDS)


def test_nothing_written_is_sealed_only_for_nothing(tmp_path: Path):
    arrays = Hdf5Arrays(Location.of(tmp_path), LAYOUT)
    arrays.grow(ROWS)
    assert arrays.is_sealed([])
    assert not arrays.is_sealed(SHARDS[:1])


def test_sealing_merges_parts_where_there_are_too_many(arrays: Hdf5Arrays, tmp_path: Path):
    arrays.seal(SHARDS)
    assert 1 < len(linked(tmp_path)) <= 8
    assert sorted(f"parts/{file.name}" for file in (tmp_path / "parts").iterdir()) == sorted(linked(tmp_path))
    np.testing.assert_array_equal(plain(tmp_path), whole())
    np.testing.assert_array_equal(arrays.read("late", 0, ROWS), whole())


def test_few_parts_stay_as_they_were_written(tmp_path: Path):
    arrays = Hdf5Arrays(Location.of(tmp_path), LAYOUT)
    arrays.grow(ROWS)
    for shard in SHARDS:
        arrays.write(shard, features(shard))
    arrays.seal(SHARDS)
    assert len(linked(tmp_path)) == len(SHARDS)


def test_merged_parts_take_more_and_merge_again(arrays: Hdf5Arrays, tmp_path: Path):
    arrays.seal(SHARDS)
    later = list(plan([(2048, 2048 + 20 * 64)], 64))
    arrays.grow(2048 + 20 * 64)
    for shard in later:
        arrays.write(shard, features(shard))
    arrays.seal([*SHARDS, *later])
    assert len(linked(tmp_path)) <= 8
    read = plain(tmp_path)
    np.testing.assert_array_equal(read[:ROWS], whole())
    assert np.isnan(read[ROWS:2048]).all()  # void rows
    np.testing.assert_array_equal(read[2048:], whole(later))


def test_a_reader_goes_on_over_a_merge(arrays: Hdf5Arrays, tmp_path: Path):
    reader = Hdf5Arrays(Location.of(tmp_path), LAYOUT)
    before = reader.read("late", 0, ROWS)
    arrays.seal(SHARDS)
    np.testing.assert_array_equal(reader.read("late", 0, ROWS), before)


def test_a_missing_part_is_refused(arrays: Hdf5Arrays, tmp_path: Path):
    for shard in SHARDS[3:5]:
        (tmp_path / f"parts/{shard.start:012d}-{shard.stop:012d}.h5").unlink()
    with pytest.raises(CorruptStore, match=rf"lacks the features of 2 committed shards, the first {SHARDS[3].name}.*as NaN"):
        arrays.seal(SHARDS)


@pytest.mark.parametrize("moment", ["before linking", "before deleting"])
def test_an_interrupted_merge_is_tolerated_and_finished(
    arrays: Hdf5Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Hdf5Arrays, "_link", die) if moment == "before linking" else patch.setattr(Path, "unlink", die)
        with pytest.raises(Killed):
            arrays.seal(SHARDS)
    assert len(list((tmp_path / "parts").glob("*.h5"))) > len(SHARDS)  # small parts and merged ones
    again = Hdf5Arrays(Location.of(tmp_path), LAYOUT)
    np.testing.assert_array_equal(again.read("late", 0, ROWS), whole())
    again.grow(ROWS)
    again.seal(SHARDS)
    assert len(linked(tmp_path)) <= 8
    assert again.is_sealed(SHARDS)
    np.testing.assert_array_equal(plain(tmp_path), whole())


def test_a_shard_written_again_lands_in_the_merged_part(arrays: Hdf5Arrays, tmp_path: Path):
    """As after somebody deleted its commit record."""
    arrays.seal(SHARDS)
    shard = SHARDS[3]
    again = {layer: np.full_like(block, -7.0) for layer, block in features(shard).items()}
    arrays.write(shard, again)
    arrays.seal(SHARDS)
    expected = whole()
    expected[shard.start : shard.stop] = -7.0
    np.testing.assert_array_equal(arrays.read("late", 0, ROWS), expected)
    np.testing.assert_array_equal(plain(tmp_path), expected)


def test_growing_links_nothing_new_so_that_sealing_still_merges(arrays: Hdf5Arrays, tmp_path: Path):
    """A run that is resumed grows first; were its parts linked then, nothing would merge them any more."""
    arrays.grow(ROWS)
    assert linked(tmp_path) == []
    assert not arrays.is_sealed(SHARDS)
    arrays.seal(SHARDS)
    assert 0 < len(linked(tmp_path)) <= 8
    before = linked(tmp_path)
    arrays.grow(ROWS + 64)
    assert linked(tmp_path) == before


def test_leftovers_of_an_interrupted_merge_are_not_sealed(arrays: Hdf5Arrays, tmp_path: Path):
    arrays.seal(SHARDS)
    arrays._write_part(hdf5.Part(64, 128), features(SHARDS[1]))
    assert not arrays.is_sealed(SHARDS)
    arrays.seal(SHARDS)
    assert arrays.is_sealed(SHARDS)
    assert not (tmp_path / hdf5.Part(64, 128).name).exists()
