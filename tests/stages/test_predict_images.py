"""Predict new images: as extraction and head would, from any source, whatever is broken; and the store is only read."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.made_heads import DIGEST, with_head
from tests.stores import copy_of, images_in, objects
from trunkline.errors import DataError, SourceError, SpecError, StoreError
from trunkline.specs import ColumnsSpec
from trunkline.stages.predict import predict_rows
from trunkline.stages.predict_images import predict_images


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    store = copy_of(finished_store, tmp_path / "store")
    with_head(store)
    return store


@pytest.fixture
def images(tmp_path: Path, digits_folder: Path) -> Path:
    """Twenty digits that the store knows too, so that its own answers are there to compare with."""
    return images_in(tmp_path / "new", digits_folder, 20)


def known(store: Path) -> dict[str, list[float]]:
    """Id → probabilities, from stored features."""
    table = pq.read_table(predict_rows(str(store), DIGEST).predictions)
    return dict(zip(table["id"].to_pylist(), table["probabilities"].to_pylist(), strict=True))


def test_they_get_what_the_pipeline_says_and_the_store_is_as_it_was(store: Path, images: Path, tmp_path: Path):
    expected = known(store)
    before = objects(store)
    out = tmp_path / "answers.parquet"
    told = []
    receipt = predict_images(str(store), str(images), DIGEST, str(out), progress=told.append)
    assert objects(store) == before
    table = pq.read_table(out)
    assert (receipt.images, receipt.predicted, receipt.unreadable, receipt.out) == (20, 20, {}, str(out))
    assert sum(receipt.counts.values()) == 20
    assert len(receipt.first) == 10
    for row in table.to_pylist():
        np.testing.assert_allclose(row["probabilities"], expected[row["id"]], atol=1e-5)
        assert row["predicted"] == str(int(np.argmax(expected[row["id"]])))
        assert row["uri"] == str(images / row["id"])
    assert (told[-1].done, told[-1].total) == (20, 20)
    assert pq.read_schema(out).metadata[b"trunkline.head"] == f"softmax-{DIGEST}".encode()


def test_broken_images_are_listed_and_stop_nothing(store: Path, images: Path, tmp_path: Path):
    expected = known(store)
    (images / "0" / "aa-text.jpg").write_text("hello")
    (images / "0" / "zz-empty.png").write_bytes(b"")
    whole = sorted((images / "3").glob("*.png"))[0].read_bytes()
    (images / "9" / "cut.png").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "answers.json"
    receipt = predict_images(str(store), str(images), DIGEST, str(out))
    assert (receipt.images, receipt.predicted) == (23, 20)
    assert receipt.unreadable == {"not-an-image": 1, "empty": 1, "truncated": 1}
    assert [each["id"] for each in receipt.bad] == ["0/aa-text.jpg", "0/zz-empty.png", "9/cut.png"]
    rows = json.loads(out.read_text())
    assert [row["id"] for row in rows if row["reason"]] == [each["id"] for each in receipt.bad]
    assert all(row["predicted"] is None and row["probabilities"] is None for row in rows if row["reason"])
    for row in rows:
        if not row["reason"]:
            np.testing.assert_allclose(list(row["probabilities"].values()), expected[row["id"]], atol=1e-5)
    assert not any(row["reason"] for row in receipt.first)


def test_nothing_but_broken_images(store: Path, tmp_path: Path):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.jpg").write_text("hello")
    receipt = predict_images(str(store), str(folder), DIGEST)
    assert (receipt.images, receipt.predicted, receipt.first, receipt.out) == (1, 0, [], "")


def test_any_source(store: Path, images: Path, tmp_path: Path):
    files = sorted(images.glob("*/*.png"))
    expected = known(store)
    tars = tmp_path / "shard.tar"
    with tarfile.open(tars, "w") as tar:
        for file in files:
            tar.add(file, f"{file.parent.name}/{file.name}")
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as text:
        csv.writer(text).writerows([["where"], *([str(file)] for file in files)])
    contents = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": [file.read_bytes() for file in files]}), contents)
    one = files[7]
    for source, more in (
        (str(images / "*" / "*.png"), {}),
        (str(tars), {}),
        (str(table), {"columns": ColumnsSpec(uri="where")}),
        (str(contents), {}),
    ):
        receipt = predict_images(str(store), source, DIGEST, **more)
        assert (receipt.images, receipt.unreadable) == (20, {}), source
        told = {f"{Path(row['uri']).parent.name}/{Path(row['uri']).name}": row for row in receipt.first}
        for name in set(told) & set(expected):
            np.testing.assert_allclose(told[name]["probabilities"], expected[name], atol=1e-5)
    alone = predict_images(str(store), str(one), DIGEST)
    assert [row["id"] for row in alone.first] == [one.name]
    np.testing.assert_allclose(alone.first[0]["probabilities"], expected[f"{one.parent.name}/{one.name}"], atol=1e-5)


def test_files_that_exist_are_left_alone(store: Path, images: Path, tmp_path: Path):
    out = tmp_path / "answers.csv"
    out.write_text("mine")
    with pytest.raises(SpecError, match=r"exists already and is left as it is"):
        predict_images(str(store), str(images), DIGEST, str(out))
    assert out.read_text() == "mine"
    predict_images(str(store), str(images), DIGEST, str(out), overwrite=True)
    assert out.read_text().startswith("id,uri,predicted,probability,reason,detail,p(0),")
    with pytest.raises(SpecError, match=r"lies in the store itself"):
        predict_images(str(store), str(images), DIGEST, str(store / "answers.csv"))
    with pytest.raises(SpecError, match=r"What format is"):
        predict_images(str(store), str(images), DIGEST, str(tmp_path / "answers"))


def test_mistakes_leave_no_file(store: Path, tmp_path: Path):
    out = tmp_path / "answers.csv"
    with pytest.raises(SourceError, match=r"does not exist"):
        predict_images(str(store), str(tmp_path / "nowhere"), DIGEST, str(out))
    (tmp_path / "empty").mkdir()
    with pytest.raises((SourceError, DataError), match=r"no image"):
        predict_images(str(store), str(tmp_path / "empty"), DIGEST, str(out))
    shutil.rmtree(store / "backbones")
    with pytest.raises(StoreError, match=r"does not hold the compiled backbone"):
        predict_images(str(store), str(store.parent), DIGEST, str(out))
    assert not out.exists()
    assert not list(tmp_path.glob(".answers*"))
