"""Export: what plain tools read is what the reader gives, bit for bit; what is refused, and that nothing is left behind."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.stores import ROWS, copy_of, extracted, feature_set_in, other_mask, spec_for
from trunkline import open_features
from trunkline.errors import CorruptStore, DataError, SpecError, StorageError, StoreError
from trunkline.exporting import content
from trunkline.locations import Location
from trunkline.progress import Step
from trunkline.reader import Features
from trunkline.specs import SelectSpec
from trunkline.stages.export import export
from trunkline.stages.select import select
from trunkline.store.feature_store import FeatureStore

TEXTS = ("id", "label", "split", "sha256")


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard each, so that every export here has several."""
    monkeypatch.setattr(content, "BLOCK_BYTES", 1)


def change_layout(store: Path, **changes: Any) -> None:
    place = feature_set_in(store) / "layout.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))


def pinned(store: Path) -> np.ndarray:
    """The columns that the only mask keeps."""
    (place,) = store.glob("masks/*/*/*/*.npz")
    with np.load(place) as file:
        return file["avg_pool/kept"]


def index_of(features: Features, rows: np.ndarray) -> dict[str, list[Any]]:
    return features.index().take(np.searchsorted(features.index()["row"].to_numpy(), rows)).select(["row", *TEXTS]).to_pydict()


def left_in(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


@pytest.mark.parametrize("split", [None, "train"])
@pytest.mark.parametrize("masked", [False, True])
def test_hdf5_is_one_contiguous_array_with_its_index(store: Path, out: Path, split: str | None, masked: bool):
    receipt = export(str(store), str(out / "features.h5"), split=split, masked=masked)
    features = open_features(store)
    rows = features.rows(split)
    kept = pinned(store) if masked else None
    with h5py.File(out / "features.h5") as file:
        array = file["features"]
        assert (array.chunks, array.compression, array.shuffle, array.is_virtual) == (None, None, False, False)
        assert array.id.get_offset() is not None  # one piece of the file
        np.testing.assert_array_equal(array[:], features.read(rows, columns=kept))
        assert array.dtype == np.float32
        said = index_of(features, rows)
        assert file["row"][:].tolist() == said["row"]
        for name in TEXTS:
            assert file[name].asstr()[:].tolist() == [value or "" for value in said[name]]
            assert h5py.check_string_dtype(file[name].dtype).encoding == "utf-8"
        assert file.id.get_create_plist().get_version()[0] == 0  # the file format that every HDF5 library reads
        assert (file.attrs["recipe"], file.attrs["layer"]) == (features.recipe.digest(), "avg_pool")
        assert json.loads(file.attrs["recipe_json"])["backbone"] == "efficientnet-lite0"
        assert (file.attrs["mask"], file.attrs["split"]) == (receipt.mask, split or "")
        assert ("columns" in file) == masked
        if kept is not None:
            assert file["columns"][:].tolist() == np.flatnonzero(kept).tolist()
            assert len(file.attrs["mask"]) == 16
    assert receipt.shape == (len(rows), 1280 if kept is None else kept.sum())
    assert receipt.bytes == (out / "features.h5").stat().st_size
    assert left_in(out) == ["features.h5"]


@pytest.mark.parametrize("masked", [False, True])
def test_parquet_has_lists_of_one_length(store: Path, out: Path, masked: bool):
    export(str(feature_set_in(store)), str(out / "features.parquet"), masked=masked)
    features = open_features(store)
    kept = pinned(store) if masked else np.ones(1280, bool)
    table = pq.read_table(out / "features.parquet")
    assert str(table.schema.field("features").type) == f"fixed_size_list<element: float>[{kept.sum()}]"
    values = table["features"].combine_chunks().flatten().to_numpy().reshape(160, -1)
    np.testing.assert_array_equal(values, features.read(features.rows(), columns=kept))
    assert table.select(["row", *TEXTS]).to_pydict() == index_of(features, features.rows())
    said = table.schema.metadata
    assert (said[b"layer"], said[b"recipe"].decode()) == (b"avg_pool", features.recipe.digest())
    assert json.loads(said.get(b"columns", b"null")) == (np.flatnonzero(kept).tolist() if masked else None)
    groups = pq.ParquetFile(out / "features.parquet").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [64, 64, 32]


def test_npy_is_the_features_and_a_table_beside_them(store: Path, out: Path):
    receipt = export(str(store), str(out / "features.npy"), split="test", masked=True)
    features = open_features(store)
    rows = features.rows("test")
    array = np.load(out / "features.npy", mmap_mode="r")
    np.testing.assert_array_equal(array, features.read(rows, columns=pinned(store)))
    table = pq.read_table(receipt.index)
    assert table.to_pydict() == index_of(features, rows)
    assert json.loads(table.schema.metadata[b"columns"]) == np.flatnonzero(pinned(store)).tolist()
    assert left_in(out) == ["features.index.parquet", "features.npy"]
    assert receipt.bytes == sum(file.stat().st_size for file in out.iterdir())


@pytest.mark.parametrize("masked", [False, True])
def test_kept_maps_keep_their_shape_but_in_parquet(store: Path, out: Path, masked: bool):
    change_layout(store, maps={"avg_pool": [2, 2, 320]})
    for suffix in ("h5", "npy", "parquet"):
        export(str(store), str(out / f"f.{suffix}"), masked=masked)
    x, _ = open_features(store).numpy(columns=pinned(store) if masked else None)
    assert x.shape == ((160, pinned(store).sum()) if masked else (160, 2, 2, 320))
    np.testing.assert_array_equal(np.load(out / "f.npy"), x)
    with h5py.File(out / "f.h5") as file:
        np.testing.assert_array_equal(file["features"][:], x)
    flat = pq.read_table(out / "f.parquet")["features"].combine_chunks().flatten().to_numpy()
    np.testing.assert_array_equal(flat.reshape(x.shape), x)


@pytest.mark.parametrize("suffix", ["h5", "npy", "parquet"])
def test_float16_stays_float16(store: Path, finished_store: Path, out: Path, suffix: str):
    shutil.rmtree(store / "features")
    storage = {"format": "zarr", "rows_per_shard": ROWS, "dtype": "float16"}
    extracted(spec_for(finished_store.parent / "images", store, storage=storage))
    place = out / f"f.{suffix}"
    assert export(str(store), str(place)).dtype == "float16"
    if suffix == "h5":
        with h5py.File(place) as file:
            x = file["features"][:]
    elif suffix == "npy":
        x = np.load(place)
    else:
        x = pq.read_table(place)["features"].combine_chunks().flatten().to_numpy().reshape(160, -1)
    assert x.dtype == np.float16
    np.testing.assert_array_equal(x, open_features(store).numpy()[0])


def test_rows_without_features_never_appear(store: Path, out: Path):
    (feature_set_in(store) / "commits" / f"{64:012d}.parquet").unlink()
    export(str(store), str(out / "f.parquet"))
    assert pq.read_table(out / "f.parquet")["row"].to_pylist() == [*range(64), *range(128, 160)]


def test_rows_without_label_or_split(store: Path, out: Path, monkeypatch: pytest.MonkeyPatch):
    index = Features.index

    def unlabelled(features: Features) -> Any:
        table = index(features)
        return table.set_column(3, "label", [[None] * len(table)]).cast(table.schema)

    monkeypatch.setattr(Features, "index", unlabelled)
    export(str(store), str(out / "f.h5"))
    export(str(store), str(out / "f.parquet"))
    with h5py.File(out / "f.h5") as file:
        assert set(file["label"].asstr()[:]) == {""}
    assert pq.read_table(out / "f.parquet")["label"].null_count == 160


def test_progress_counts_rows(store: Path, out: Path):
    steps: list[Step] = []
    export(str(store), str(out / "f.npy"), progress=steps.append)
    assert [(step.stage, step.done, step.total) for step in steps] == [("export", done, 160) for done in (0, 64, 128, 160)]


@pytest.mark.parametrize("name", ["f.h5", "f.npy", "f.parquet"])
def test_it_goes_to_a_bucket_by_a_local_file(store: Path, out: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(out))
    place = f"memory://exports-{name}/deep/{name}"
    export(str(store), place)
    with pytest.raises(SpecError, match=rf"{name} exists already and is left as it is"):
        export(str(store), place)
    export(str(store), str(out / name))
    stored = fsspec.filesystem("memory").cat_file(place)
    if name == "f.h5":
        with h5py.File(io.BytesIO(stored)) as file:
            np.testing.assert_array_equal(file["features"][:], open_features(store).numpy()[0])
    else:
        assert stored == (out / name).read_bytes()
    assert not [each for each in left_in(out) if each.startswith("trunkline-export")]


def test_a_bucket_that_is_not_there(store: Path, monkeypatch: pytest.MonkeyPatch):
    def gone(*_: Any) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", gone)
    with pytest.raises(
        StorageError, match=r"memory://no-bucket/f.index.parquet cannot be written: The specified bucket.*Check that the"
    ):
        export(str(store), "memory://no-bucket/f.npy")


@pytest.mark.parametrize("name", ["f.h5", "f.npy", "f.parquet"])
def test_nothing_is_left_when_it_fails_in_the_middle(store: Path, out: Path, name: str):
    (place,) = (feature_set_in(store) / "features.zarr/avg_pool/c").glob("1/*")
    place.unlink()
    with pytest.raises(CorruptStore, match=r"read as NaN: an object is missing"):
        export(str(store), str(out / name))
    assert left_in(out) == []


def test_what_is_there_stays_until_the_new_one_is_whole(store: Path, out: Path):
    place = out / "f.npy"
    place.write_bytes(b"older")
    with pytest.raises(
        SpecError, match=r"f.npy exists already and is left as it is. Name another file, or replace it with --overw"
    ):
        export(str(store), str(place))
    (broken,) = (feature_set_in(store) / "features.zarr/avg_pool/c").glob("2/*")
    content = broken.read_bytes()
    broken.unlink()
    with pytest.raises(CorruptStore):
        export(str(store), str(place), overwrite=True)
    assert (left_in(out), place.read_bytes()) == (["f.npy"], b"older")
    broken.write_bytes(content)
    export(str(store), str(place), overwrite=True)
    assert np.load(place).shape == (160, 1280)


def test_an_index_that_lies_beside_is_not_replaced_either(store: Path, out: Path):
    (out / "f.index.parquet").write_bytes(b"mine")
    with pytest.raises(SpecError, match=r"f.index.parquet exists already"):
        export(str(store), str(out / "f.npy"))
    assert left_in(out) == ["f.index.parquet"]


def test_places_that_are_refused(store: Path, out: Path):
    with pytest.raises(SpecError, match=r"There is no folder .*nowhere to export to. Make it, or name another"):
        export(str(store), str(out / "nowhere/f.h5"))
    (out / "folder.h5").mkdir()
    with pytest.raises(SpecError, match=r"folder.h5 is a folder. Name a file in it, such as .*features.parquet"):
        export(str(store), str(out / "folder.h5"), overwrite=True)
    with pytest.raises(SpecError, match=r"store.h5 lies in the store itself"):
        export(str(store), str(store / "features/store.h5"))
    with pytest.raises(
        SpecError, match=r"What format is .*f.csv\? Its suffix is none of .h5, .*: give --format hdf5, parquet, npy"
    ):
        export(str(store), str(out / "f.csv"))
    with pytest.raises(SpecError, match=r"There is no format 'parket'. Did you mean parquet\? There are: hdf5, parquet, npy"):
        export(str(store), str(out / "f.h5"), "parket")
    assert export(str(store), str(out / "f.csv"), "npy").index == str(out / "f.csv.index.parquet")


def test_what_does_not_fit_is_refused_before_it_is_written(store: Path, out: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Location, "free", lambda _: 160 * 1280 * 4)
    with pytest.raises(StorageError, match=r"takes 840.0 KiB, and 800.0 KiB are free at .*out/f.h5. Nothing was written"):
        export(str(store), str(out / "f.h5"))
    with pytest.raises(
        StorageError, match=r"free at /.*, where the file is made before it goes to memory://full/f.h5; TMPDIR names"
    ):
        export(str(store), "memory://full/f.h5")
    export(str(store), str(out / "f.h5"), split="test")


def test_unknown_layers_splits_and_datasets(store: Path, out: Path):
    place = str(out / "f.h5")
    for masked in (False, True):
        with pytest.raises(DataError, match=r"There is no layer 'avg_pol'. Did you mean avg_pool\?"):
            export(str(store), place, layer="avg_pol", masked=masked)
    with pytest.raises(DataError, match=r"There is no split 'tran'. Did you mean train\?"):
        export(str(store), place, split="tran")
    with pytest.raises(StoreError, match=r"holds no dataset 'digit'. Did you mean digits\? It has: digits"):
        export(str(store), place, dataset="digit")
    export(str(store), place, layer="avg_pool", split="test", dataset="digits")


def test_no_features_yet(store: Path, out: Path):
    for record in (feature_set_in(store) / "commits").iterdir():
        record.unlink()
    with pytest.raises(DataError, match=r"holds no features yet. Run `trunkline extract`"):
        export(str(store), str(out / "f.h5"))
    (feature_set_in(store) / "layout.json").unlink()
    with pytest.raises(StoreError, match=r"holds 0 feature sets"):
        export(str(store), str(out / "f.h5"))
    with pytest.raises(StoreError, match=r"digits has 0 feature sets: none. Export one of them by its own URI"):
        export(str(store), str(out / "f.h5"), dataset="digits")
    FeatureStore.create(Location.of(out / "new"))
    with pytest.raises(StoreError, match=r"holds 0 feature sets"):
        export(str(out / "new"), str(out / "f.h5"))


def test_a_mask_is_needed_to_mask(store: Path, out: Path):
    for place in store.glob("masks/*/*/*/*.npz"):
        place.unlink()
        place.parent.rmdir()
    with pytest.raises(DataError, match=r"has no mask yet. Run `trunkline select` first, or export all columns"):
        export(str(store), str(out / "f.h5"), masked=True)


def test_of_several_rules_one_has_to_be_named(store: Path, out: Path, finished_store: Path):
    first = select(spec_for(finished_store.parent / "images", store))
    stricter = spec_for(finished_store.parent / "images", store, select=SelectSpec(relative_threshold=1.0).model_dump())
    receipt = select(stricter)
    rule = stricter.select.digest()
    with pytest.raises(DataError, match=rf"has masks of 2 rules: name one of them by --rule: .*{rule}"):
        export(str(store), str(out / "f.npy"), masked=True)
    with pytest.raises(DataError, match=r"has no mask of the rule 'other'. It has: "):
        export(str(store), str(out / "f.npy"), rule="other")
    found = export(str(store), str(out / "f.npy"), masked=True, rule=rule)
    assert (found.mask, found.shape[1]) == (receipt.digest, receipt.kept)
    assert receipt.kept < first.kept


def test_the_newest_mask_of_a_rule_is_taken(store: Path, out: Path, finished_store: Path):
    before = select(spec_for(finished_store.parent / "images", store))
    other_mask(before)
    assert export(str(store), str(out / "f.npy"), masked=True).shape == (160, before.kept - 1)


def test_a_mask_that_does_not_fit_is_refused(store: Path, out: Path):
    (place,) = store.glob("masks/*/*/*/*.npz")
    said = np.array(json.dumps({"rows": 128, "thresholds": {"avg_pool": 0.1}}))
    np.savez(place, said=said, **{"avg_pool/kept": np.ones(7, bool), "avg_pool/variances": np.ones(7)})
    with pytest.raises(CorruptStore, match=r"The mask under .* does not fit .*Fit it anew: `trunkline select --refit`"):
        export(str(store), str(out / "f.h5"), masked=True)
