"""Reading: committed, live rows of one feature set, as they were when it was opened."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.manifests import appended
from tests.stores import ROWS, copy_of, empty_store, extracted, feature_set_in, images_in, spec_for
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import CorruptStore, DataError, StoreError
from trunkline.locations import Location
from trunkline.sources import Listed
from trunkline.stages.extract import extract
from trunkline.stages.scan import scan
from trunkline.store.feature_store import FeatureStore


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def test_a_store_and_its_feature_set_open_the_same(finished_store: Path):
    whole, one = open_features(finished_store), open_features(str(feature_set_in(finished_store)))
    assert whole.uri == one.uri == str(feature_set_in(finished_store))
    assert repr(whole) == f"<Features {whole.uri} (efficientnet-lite0, avg_pool: 1280, 3 shards)>"
    assert whole.layers == {"avg_pool": 1280}
    assert whole.recipe.digest() == feature_set_in(finished_store).name


def test_the_index_says_what_each_row_is(finished_store: Path):
    index = open_features(finished_store).index()
    assert index.column_names == ["row", "id", "uri", "label", "split", "status", "reason", "detail", "sha256", "version"]
    for row in index.slice(60, 10).to_pylist():
        assert row["uri"] == f"{finished_store.parent / 'images'}/{row['id']}"
        assert row["label"] == row["id"].split("/")[0]
        assert (row["status"], row["reason"]) == ("ok", "")
        assert row["split"] in ("train", "test")
        assert len(row["sha256"]) == 64
    assert index["row"].to_pylist() == list(range(160))


def test_numpy_gives_features_and_labels_in_row_order(finished_store: Path):
    features = open_features(finished_store)
    x, y = features.numpy()
    assert (x.shape, x.dtype, y.shape) == ((160, 1280), np.float32, (160,))
    np.testing.assert_array_equal(x, zarr.open(f"{features.uri}/features.zarr", mode="r")["avg_pool"][:])
    assert y.tolist() == features.index()["label"].to_pylist()
    parts = [features.numpy(split)[0] for split in ("train", "test")]
    assert len(parts[0]) + len(parts[1]) == 160
    assert 0 < len(parts[1]) < len(parts[0])
    np.testing.assert_array_equal(parts[0], x[np.asarray(features.index()["split"].to_pylist()) == "train"])


def test_columns_and_single_rows(finished_store: Path):
    features = open_features(finished_store)
    columns = np.arange(1280) % 7 == 0
    x, _ = features.numpy()
    np.testing.assert_array_equal(features.numpy(columns=columns, layer="avg_pool")[0], x[:, columns])
    rows = np.array([0, 63, 64, 159])
    np.testing.assert_array_equal(features.read(rows), x[rows])
    assert features.read(rows[:0]).shape == (0, 1280)


def test_void_rows_between_batches_are_never_read(tmp_path: Path, store: Path, digits_folder: Path, finished_store: Path):
    source = shutil.copytree(finished_store.parent / "images", tmp_path / "images")
    (store / "datasets/digits/source.json").write_text(f'{{"root": "{source}"}}')
    images_in(source, digits_folder, 5, first=160)
    before = open_features(store).numpy()[0]
    extracted(spec_for(source, store))
    features = open_features(store)
    assert features.rows().tolist() == [*range(160), *range(1024, 1029)]
    x, y = features.numpy()
    np.testing.assert_array_equal(x[:160], before)
    assert not np.isnan(x).any()
    assert len(y) == 165


def test_it_is_a_snapshot(store: Path):
    record = feature_set_in(store) / "commits" / f"{ROWS:012d}.parquet"
    aside = record.rename(store / "aside")
    features = open_features(store)
    aside.rename(record)
    assert len(features.rows()) == 160 - ROWS
    assert len(open_features(store).rows()) == 160


def test_reading_needs_no_network_and_no_orchestrator(finished_store: Path):
    script = (
        "import sys; from trunkline import open_features; x, y = open_features(sys.argv[1]).numpy('train'); assert len(x) == len(y);"
        "print([name for name in ('tensorflow', 'keras', 'openvino', 'torch', 'dask', 'distributed', 'cv2', 'sklearn', 'prefect')"
        " if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script, finished_store], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_several_feature_sets_have_to_be_named(store: Path, finished_store: Path):
    extracted(spec_for(finished_store.parent / "images", store, preparation={"fit": "stretch"}))
    with pytest.raises(StoreError, match=r"holds 2 feature sets: .*; .*. Open one of them by its own URI"):
        open_features(store)


def test_a_store_without_features(tmp_path: Path):
    FeatureStore.create(Location.of(tmp_path))
    with pytest.raises(StoreError, match=r"holds 0 feature sets: none"):
        open_features(tmp_path)


def test_there_is_nothing(tmp_path: Path):
    with pytest.raises(StoreError, match=r"There is no feature set at .*nowhere"):
        open_features(tmp_path / "nowhere")


def test_a_feature_set_outside_a_store_is_refused(finished_store: Path, tmp_path: Path):
    place = feature_set_in(finished_store)
    moved = shutil.copytree(place, tmp_path / place.name)
    with pytest.raises(StoreError, match=r"does not lie in a store as STORE/features/<dataset>/<recipe>"):
        open_features(moved)


def test_unknown_split_and_layer(finished_store: Path):
    features = open_features(finished_store)
    with pytest.raises(DataError, match=r"There is no split 'trian'. Did you mean train\? There are: test, train"):
        features.numpy("trian")
    with pytest.raises(DataError, match=r"There is no layer 'avgpool'. Did you mean avg_pool\? There are: avg_pool"):
        features.numpy(layer="avgpool")


def test_a_missing_object_is_an_error_and_not_nan(store: Path):
    (feature_set_in(store) / "features.zarr/avg_pool/c/1/0").unlink()
    features = open_features(store)
    with pytest.raises(CorruptStore, match=r"Committed rows between \d+ and \d+ of .* read as NaN: an object is missing"):
        features.numpy()
    assert len(features.read(np.arange(ROWS))) == ROWS


def test_a_record_of_another_manifest_is_refused(store: Path, finished_store: Path, tmp_path: Path):
    """The dataset's manifest was made anew over other images."""
    source = images_in(tmp_path / "images", finished_store.parent / "images", 100)
    shutil.rmtree(store / "datasets")
    scan(spec_for(source, store))
    with pytest.raises(CorruptStore, match=r"The commit record 000000000000 does not belong to the manifest"):
        open_features(store).index()


def test_an_id_that_leaves_the_source_is_shown_and_never_opened(tmp_path: Path, compiled_lite0: Path, digits_folder: Path):
    """Object stores allow such keys; one of them must not hide all the others."""
    source, store = images_in(tmp_path / "images", digits_folder, 70), empty_store(tmp_path / "store", compiled_lite0)
    spec = spec_for(source, store)
    scan(spec)
    dataset = FeatureStore.open(Location.of(store)).dataset(spec.dataset_name)
    appended(dataset.manifest, [Listed("a/../../b.png", 1, "1-1")])
    with Cluster(spec.cluster) as cluster:
        extract(spec, cluster)
    (row,) = [row for row in open_features(store).index().to_pylist() if row["id"] == "a/../../b.png"]
    assert (row["status"], row["reason"]) == ("quarantined", "outside")
    assert len(open_features(store).rows()) == 70
