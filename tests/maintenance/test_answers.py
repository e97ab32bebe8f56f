"""What `trunkline predict` wrote, under gc, verify, repair and purge."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.made_heads import DIGEST, with_head
from tests.stores import copy_of, empty_store, extracted, images_in, objects, spec_for
from trunkline.clusters import Cluster
from trunkline.maintenance.gc import collect
from trunkline.maintenance.purge import purge
from trunkline.maintenance.repair import repair
from trunkline.maintenance.verify import verify
from trunkline.specs import ClusterSpec
from trunkline.stages.predict import predict_rows
from trunkline.stages.scan import scan
from trunkline.stages.select import select


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    store = copy_of(finished_store, tmp_path / "store")
    with_head(store)
    return store


def aged(store: Path) -> None:
    for file in store.rglob("*"):
        if file.is_file() and "backbones" not in file.parts:
            os.utime(file, (1000, 1000))


def test_gc_leaves_answers_whose_head_is_there(store: Path):
    answers = Path(predict_rows(str(store), DIGEST).predictions)
    aged(store)
    collected = collect(str(store), delete=True)
    assert collected.unknown == ()
    assert answers.exists()
    (found,) = store.glob(f"heads/*/*/softmax-{DIGEST}")
    shutil.rmtree(found)
    collect(str(store), delete=True)
    assert not answers.exists()
    assert not (answers.parent.parent / f"softmax-{DIGEST}.parquet").exists()


def test_damaged_answers_are_found_deleted_and_made_anew(store: Path):
    receipt = predict_rows(str(store), DIGEST)
    answers = Path(receipt.predictions)
    whole = answers.read_bytes()
    content = bytearray(whole)
    content[len(content) // 3] ^= 0xFF
    answers.write_bytes(bytes(content))
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        found = verify(str(store), cluster)
        assert [(each.what, each.where) for each in found.findings] == [("answers", str(answers))]
        heads = objects(store / "heads")
        repair(str(store), found, cluster, lambda _: None)
    assert not answers.exists()
    assert objects(store / "heads") == heads
    assert not predict_rows(str(store), DIGEST).cached
    assert pq.read_table(answers).num_rows == receipt.rows


def test_purged_images_are_in_no_answers(tmp_path: Path, digits_folder: Path, compiled_lite0: Path):
    images = images_in(tmp_path / "images", digits_folder, 80)
    spec = spec_for(images, empty_store(tmp_path / "store", compiled_lite0), max_removed_fraction=1)
    extracted(spec)
    select(spec)
    store = Path(spec.store)
    with_head(store)
    receipt = predict_rows(spec.store, DIGEST)
    before = pq.read_table(receipt.predictions)
    gone = sorted(images.glob("*/*.png"))[:3]
    names = [f"{file.parent.name}/{file.name}" for file in gone]
    for file in gone:
        file.unlink()
    scan(spec)
    purge(spec.store, "digits", erase=True)
    after = pq.read_table(receipt.predictions)
    assert set(before["id"].to_pylist()) - set(after["id"].to_pylist()) == set(names)
    assert after.num_rows == 77
    assert after.schema.metadata == before.schema.metadata
    assert not any(name.encode() in Path(receipt.predictions).read_bytes() for name in names)
    fresh = predict_rows(spec.store, DIGEST)
    assert (fresh.rows, fresh.cached) == (77, False)
