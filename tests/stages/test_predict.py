"""Predict over committed rows: what the head says of the stored features, written once, and nothing extracted again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.made_heads import DIGEST, linear, mask_of, with_head
from tests.stores import copy_of, images_in, objects, other_mask
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import DataError, StoreError
from trunkline.specs import RunSpec
from trunkline.stages import predict
from trunkline.stages.extract import extract
from trunkline.stages.predict import predict_rows
from trunkline.stages.scan import scan
from trunkline.stages.select import select


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def test_every_row_gets_what_the_head_says_of_its_features(store: Path):
    with_head(store)
    before = objects(store)
    told = []
    receipt = predict_rows(str(store), DIGEST, progress=told.append)
    features = open_features(store)
    rows = features.rows()
    kept = mask_of(features, store).layers["avg_pool"].kept
    outputs = linear(features, store).outputs(features.read(rows)[:, kept])
    table = pq.read_table(receipt.predictions)
    assert table["row"].to_pylist() == rows.tolist()
    assert table["id"].to_pylist() == features.snapshot.ids(rows).to_pylist()
    assert table["predicted"].to_pylist() == [str(place) for place in outputs.argmax(axis=1)]
    np.testing.assert_array_equal(np.stack(table["probabilities"].to_numpy()), outputs.astype(np.float32))
    np.testing.assert_array_equal(table["probability"], outputs.max(axis=1).astype(np.float32))
    assert (table.schema.field("probabilities").type.list_size, receipt.rows, receipt.cached) == (10, 160, False)
    assert sum(receipt.counts.values()) == 160
    assert receipt.first == table.slice(0, 10).to_pylist()
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 160, 160)
    after = objects(store)
    assert {name: after[name] for name in before} == before  # nothing else was touched
    assert [name for name in after if name not in before] == [receipt.predictions.removeprefix(f"{store}/")]


def test_the_file_says_what_it_came_from(store: Path):
    location = with_head(store)
    receipt = predict_rows(str(store), DIGEST, split="test")
    said = {key.decode(): value.decode() for key, value in pq.read_schema(receipt.predictions).metadata.items()}
    features = open_features(store)
    expected = {
        "trunkline.head": location.name,
        "trunkline.mask": mask_of(features, store).digest,
        "trunkline.recipe": features.recipe.digest(),
        "trunkline.dataset": "digits",
        "trunkline.layer": "avg_pool",
        "trunkline.target": "classes",
    }
    assert {name: said[name] for name in expected} == expected
    assert json.loads(said["trunkline.names"]) == list("0123456789")
    assert Path(receipt.predictions).parent == store / "predictions/digits" / features.recipe.digest() / location.name


def test_the_same_call_again_reads_what_is_there(store: Path):
    with_head(store)
    first = predict_rows(str(store), DIGEST, split="test")
    again = predict_rows(str(store), "softmax-" + DIGEST, split="test")
    assert (first.cached, again.cached) == (False, True)
    assert (again.predictions, again.counts, again.first) == (first.predictions, first.counts, first.first)
    other = predict_rows(str(store), DIGEST, rows=slice(0, 10))
    assert not other.cached
    assert other.predictions != first.predictions


def test_selections(store: Path):
    with_head(store)
    features = open_features(store)
    for choice in ({"split": "train"}, {"batch": 0}, {"rows": slice(70, 130)}, {"split": "test", "rows": slice(None, 80)}):
        receipt = predict_rows(str(store), DIGEST, **choice)
        assert pq.read_table(receipt.predictions)["row"].to_pylist() == features.rows(**choice).tolist()
    with pytest.raises(DataError, match=r"No row of .* with features is meant\. Leave out --split"):
        predict_rows(str(store), DIGEST, rows=slice(1000, 2000))
    with pytest.raises(DataError, match=r"There is no batch 5"):
        predict_rows(str(store), DIGEST, batch=5)
    with pytest.raises(DataError, match=r"There is no split 'tst'. Did you mean test"):
        predict_rows(str(store), DIGEST, split="tst")


def test_several_labels_and_values(store: Path):
    features = open_features(store)
    with_head(store, target="multilabel", digest="aaaa000000000000")
    with_head(store, "ridge", "regression", "bbbb000000000000")
    rows = features.rows("test")
    kept = mask_of(features, store).layers["avg_pool"].kept
    x = features.read(rows)[:, kept]
    labels = pq.read_table(predict_rows(str(store), "aaaa", split="test").predictions)
    outputs = linear(features, store, "multilabel").outputs(x)
    assert labels["labels"].to_pylist() == [[str(n) for n in np.flatnonzero(row >= 0.5)] for row in outputs]
    receipt = predict_rows(str(store), "ridge", split="test")
    values = pq.read_table(receipt.predictions)
    np.testing.assert_allclose(values["value"], linear(features, store, "regression").outputs(x)[:, 0], rtol=1e-12)
    assert receipt.counts == {}


def test_blocks_do_not_change_the_answers(store: Path, monkeypatch: pytest.MonkeyPatch):
    with_head(store)
    whole = pq.read_table(predict_rows(str(store), DIGEST).predictions)
    (path,) = store.glob(f"predictions/digits/*/softmax-{DIGEST}/*.parquet")
    path.unlink()
    monkeypatch.setattr(predict, "BLOCK_BYTES", 1)  # a shard at a time
    receipt = predict_rows(str(store), DIGEST)
    file = pq.ParquetFile(receipt.predictions)
    assert file.num_row_groups == 3
    found = file.read()
    assert found.drop_columns(["probability", "probabilities"]).equals(whole.drop_columns(["probability", "probabilities"]))
    np.testing.assert_allclose(
        np.stack(found["probabilities"].to_numpy()), np.stack(whole["probabilities"].to_numpy()), atol=1e-6
    )


def test_a_new_batch_is_scored_by_the_head_that_is_there(digits_folder: Path, spec: RunSpec):
    with Cluster(spec.cluster) as cluster:
        scan(spec)
        extract(spec, cluster)
        select(spec)
        with_head(Path(spec.store))
        old = predict_rows(spec.store, DIGEST)
        images_in(Path(spec.source), digits_folder, 12, first=80)
        scan(spec)
        extract(spec, cluster)
    fresh = predict_rows(spec.store, DIGEST, batch=1)
    assert (old.rows, fresh.rows) == (80, 12)
    assert predict_rows(spec.store, DIGEST, batch=0).cached  # the same rows as before
    assert predict_rows(spec.store, DIGEST).rows == 92


def test_mistakes(store: Path, tmp_path: Path, finished: RunSpec):
    with_head(store)
    with pytest.raises(StoreError, match=r"There is no feature set at|There is no feature store at"):
        predict_rows(str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match=r"has no dataset 'digit'. Did you mean digits"):
        predict_rows(str(store), dataset="digit")
    with pytest.raises(DataError, match=r"There is no head 'softmix'. Did you mean softmax"):
        predict_rows(str(store), "softmix")
    with pytest.raises(DataError, match=r"There are 2 heads of the kind softmax: .* Name one of them by its digest"):
        predict_rows(str(store), "softmax")
    refitted = select(finished, refit=True)
    other_mask(refitted)
    receipt = predict_rows(finished.store, "softmax", split="test")  # a head keeps the mask it was fitted with
    assert receipt.mask == refitted.digest
