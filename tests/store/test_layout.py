"""How features lie: an old layout means what it meant, compression is real, another one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from tests.store.examples import DIMS, features, recipe
from trunkline.errors import StoreError
from trunkline.locations import Location
from trunkline.shards import Shard, plan
from trunkline.specs import StorageSpec
from trunkline.store.arrays import open_arrays
from trunkline.store.feature_set import FeatureSet
from trunkline.store.layout import ArrayLayout, cast

SHARDS = list(plan([(0, 200)], 64))
WIDE = {"wide": 640}


def smooth(shard: Shard, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Values that any codec makes smaller: few of them, many zeros."""
    rng = np.random.default_rng(shard.start)
    return {"wide": (rng.integers(0, 4, (shard.rows, 640)) / 4).astype(dtype)}


@pytest.mark.parametrize(("format_", "meant"), [("zarr", "zstd-1"), ("hdf5", "none")])
@pytest.mark.parametrize("level", [{}, {"zstd_level": 1}])
def test_a_layout_from_before_there_was_a_choice(tmp_path: Path, format_: str, meant: str, level: dict[str, int]):
    location = Location.of(tmp_path / recipe().digest())
    made = FeatureSet.create(location, recipe(), ArrayLayout(format_, 64, DIMS))
    said = json.loads((location / "layout.json").read())
    assert said.pop("compression") == meant
    (location / "layout.json").write(json.dumps(said | level).encode())
    assert FeatureSet.open(location) == made


@pytest.mark.parametrize("compression", ["brotli", 7])
def test_a_compression_from_a_newer_version_is_refused(tmp_path: Path, compression: object):
    location = Location.of(tmp_path / recipe().digest())
    FeatureSet.create(location, recipe(), ArrayLayout("zarr", 64, DIMS))
    said = json.loads((location / "layout.json").read()) | {"compression": compression}
    (location / "layout.json").write(json.dumps(said).encode())
    with pytest.raises(StoreError, match=r"recipe.json or layout.json is foreign or newer"):
        FeatureSet.open(location)


@pytest.mark.parametrize(
    ("format_", "compression"),
    [
        ("zarr", "zstd"),
        ("zarr", "zstd-9"),
        ("zarr", "blosc-lz4"),
        ("zarr", "blosc-zstd"),
        ("zarr", "gzip"),
        ("hdf5", "gzip"),
        ("hdf5", "gzip-9"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_compressed_features_are_smaller_and_the_same(tmp_path: Path, format_: str, compression: str, dtype: str):
    sizes = {}
    for name in ("none", compression):
        layout = ArrayLayout(format_, 64, WIDE, dtype, name)
        arrays = open_arrays(Location.of(tmp_path / name), layout)
        arrays.grow(200)
        for shard in SHARDS:
            arrays.write(shard, smooth(shard, dtype))
        arrays.seal(SHARDS)
        again = open_arrays(Location.of(tmp_path / name), layout).read("wide", 0, 200)
        np.testing.assert_array_equal(again, np.concatenate([smooth(shard, dtype)["wide"] for shard in SHARDS]))
        assert again.dtype == dtype
        sizes[name] = sum(file.stat().st_size for file in (tmp_path / name).rglob("*") if file.is_file())
    assert sizes[compression] < 0.6 * sizes["none"]
    assert sizes["none"] > 200 * 640 * np.dtype(dtype).itemsize


def test_the_codec_stands_in_the_array_where_plain_tools_look(tmp_path: Path):
    for compression in ("none", "blosc-lz4-7", "zstd-3"):
        arrays = open_arrays(Location.of(tmp_path / compression), ArrayLayout("zarr", 64, DIMS, compression=compression))
        arrays.grow(64)
        compressors = zarr.open(arrays.uri(), mode="r")["late"].compressors
        said = [each.to_dict() for each in compressors]
        assert [(each["name"], each["configuration"].get("level", each["configuration"].get("clevel"))) for each in said] == (
            {"none": [], "blosc-lz4-7": [("blosc", 7)], "zstd-3": [("zstd", 3)]}[compression]
        )


def test_hdf5_has_only_filters_of_the_library_itself(tmp_path: Path):
    arrays = open_arrays(Location.of(tmp_path), ArrayLayout("hdf5", 64, DIMS, compression="gzip-4", maps={"late": (5, 1, 1)}))
    arrays.grow(200)
    for shard in SHARDS:
        arrays.write(shard, features(shard))
    for part in (tmp_path / "parts").iterdir():
        with h5py.File(part) as file:
            late = file["late"]
            assert (late.compression, late.compression_opts, late.shuffle) == ("gzip", 4, True)
            assert late.chunks == (min(64, len(late)), 5, 1, 1)


def test_merged_parts_stay_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trunkline.store.hdf5.MAX_FILES", 2)
    arrays = open_arrays(Location.of(tmp_path), ArrayLayout("hdf5", 64, DIMS, compression="gzip"))
    arrays.grow(200)
    for shard in SHARDS:
        arrays.write(shard, features(shard))
    arrays.seal(SHARDS)
    (part,) = (tmp_path / "parts").iterdir()
    with h5py.File(part) as file:
        assert file["late"].compression == "gzip"
    np.testing.assert_array_equal(arrays.read("late", 64, 128), features(SHARDS[1])["late"])


PLACE = Location("/store/features/birds/0123")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (StorageSpec(format="hdf5"), r"is stored as zarr; the format is fixed.*Use --format zarr, or another --store for hdf5"),
        (
            StorageSpec(rows_per_shard=128),
            r"has 64 rows a shard, not 128; that is fixed.*Leave out rows_per_shard, or use another",
        ),
        (
            StorageSpec(compression="none"),
            r"is compressed by zstd-1, not none; that is fixed.*Leave out --compression, or use ano",
        ),
        (StorageSpec(compression="zstd-2"), r"is compressed by zstd-1, not zstd-2; that is fixed"),
    ],
)
def test_another_storage_is_refused(asked: StorageSpec, words: str):
    with pytest.raises(StoreError, match=words):
        ArrayLayout("zarr", 64, DIMS).refuse_another(asked, PLACE)


@pytest.mark.parametrize(
    "asked", [StorageSpec(), StorageSpec(compression="zstd"), StorageSpec(compression="zstd-1", rows_per_shard=64)]
)
def test_the_same_storage_or_none_said_is_taken(asked: StorageSpec):
    ArrayLayout("zarr", 64, DIMS).refuse_another(asked, PLACE)


def test_float16_rounds_to_the_nearest_and_overflows_to_infinity_without_a_word():
    x = np.array([[1.0, 1.0 + 2**-12, 65_504.0, 65_520.0, -1e9, 1e-9, np.nan]], np.float32)
    np.testing.assert_array_equal(cast(x, "float16"), np.array([[1, 1, 65_504, np.inf, -np.inf, 0, np.nan]], np.float16))
    assert cast(x, "float32") is x
