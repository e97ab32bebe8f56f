"""`trunkline export`: its JSON, its table, and how a mistake ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli
from tests.stores import copy_of, feature_set_in
from trunkline import open_features


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def test_export_as_json(cli: Cli, store: Path, tmp_path: Path):
    place = tmp_path / "features.npy"
    ended = cli("export", store, place, "--split", "train", "--json")
    assert ended.code == 0, ended.err
    x, _ = open_features(store).numpy("train")
    np.testing.assert_array_equal(np.load(place), x)
    seconds = ended.json.pop("seconds")
    assert seconds >= 0
    found = ended.json
    assert found.pop("seconds") == seconds
    assert found == {
        "out": str(place),
        "index": str(tmp_path / "features.index.parquet"),
        "format": "npy",
        "feature_set": str(feature_set_in(store)),
        "layer": "avg_pool",
        "split": "train",
        "mask": "",
        "shape": list(x.shape),
        "dtype": "float32",
        "bytes": place.stat().st_size + (tmp_path / "features.index.parquet").stat().st_size,
    }
    assert f"export: {len(x)} of {len(x)} rows" in ended.said


def test_export_as_a_table(cli: Cli, store: Path, tmp_path: Path):
    ended = cli("export", feature_set_in(store), tmp_path / "f.bin", "--format", "hdf5", "--masked", "--layer", "avg_pool")
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "│ features │ 160 x " in said
    assert "float32 │ │ layer │ avg_pool │ │ mask │" in said
    assert "as hdf5" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("f.txt",), "What format is"),
        (("nowhere/f.h5",), "There is no folder"),
        (("f.h5", "--layer", "late"), "There is no layer 'late'"),
        (("f.h5", "--split", "tset"), "Did you mean test?"),
        (("f.h5", "--masked", "--rule", "mine"), "has no mask of the rule 'mine'"),
    ],
)
def test_a_mistake_ends_with_2_and_writes_nothing(cli: Cli, store: Path, tmp_path: Path, words: tuple[str, ...], said: str):
    before = sorted(tmp_path.iterdir())
    ended = cli("export", store, tmp_path / words[0], *words[1:], "--json")
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.said
    assert sorted(tmp_path.iterdir()) == before


def test_an_existing_file_is_replaced_only_when_asked(cli: Cli, store: Path, tmp_path: Path):
    place = tmp_path / "f.h5"
    place.write_bytes(b"mine")
    assert cli("export", store, place).code == 2
    assert place.read_bytes() == b"mine"
    assert cli("export", store, place, "--overwrite").code == 0
    assert place.read_bytes().startswith(b"\x89HDF")
