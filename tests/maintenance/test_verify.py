"""Verify: a whole store passes; whatever is broken for real is found, named, and told from what is no damage."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.maintenance.conftest import SHARDS, Broken, cut, flip
from trunkline.clusters import Cluster
from trunkline.errors import CorruptStore, StorageUnreachable, StoreError
from trunkline.locations import Location
from trunkline.maintenance import shard_check
from trunkline.maintenance.verify import verify
from trunkline.progress import Step
from trunkline.specs import ClusterSpec
from trunkline.store.feature_set import FeatureSet


def test_a_whole_store_passes_and_nothing_is_changed(broken: Broken):
    before = broken.objects()
    steps: list[Step] = []
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        found = verify(str(broken.path), cluster, progress=steps.append)
    assert found.findings == ()
    assert found.orphans == ()
    assert found.unknown == ()
    (features,) = found.feature_sets
    counts = features.counts
    assert counts is not None
    assert (features.shards, counts.ok, counts.quarantined, counts.pending, counts.removed, counts.void) == (3, 160, 0, 0, 0, 0)
    assert [(step.done, step.total) for step in steps] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert broken.objects() == before


def test_workers_find_what_the_serial_loop_finds(in_zarr: Broken):
    flip(in_zarr.object(1))
    alone = in_zarr.verified()
    with Cluster(ClusterSpec(kind="local", workers=1)) as cluster:
        assert verify(str(in_zarr.path), cluster) == alone
    assert len(alone.findings) == 1


def test_rows_of_every_kind_are_accounted_for(in_zarr: Broken):
    (in_zarr.path.parent / "images/0/broken.png").write_bytes(b"no image")
    in_zarr.images[5].unlink()
    in_zarr.run()
    in_zarr.record(1).unlink()
    (features,) = in_zarr.verified().feature_sets
    counts = features.counts
    assert counts is not None
    assert (counts.ok, counts.quarantined, counts.pending, counts.removed, counts.void) == (95, 1, 64, 1, 1024 - 160)
    assert counts.rows == 1025
    assert features.findings == ()  # what is pending is no damage


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "swapped"])
def test_damaged_features_are_found(broken: Broken, damage: str):
    places = [broken.object(0), broken.object(1)]
    if damage == "flipped":
        flip(places[1])
    elif damage == "cut":
        cut(places[1])
    elif damage == "gone":
        places[1].unlink()
    else:
        first, second = (place.read_bytes() for place in places)
        places[0].write_bytes(second)
        places[1].write_bytes(first)
    found = broken.verified()
    shards = [finding.shard for finding in found.findings if finding.what == "features"]
    assert shards == list(SHARDS[:2] if damage == "swapped" else SHARDS[1:2])
    assert {finding.severity for finding in found.findings} == {"damaged"}
    (features,) = found.feature_sets
    if damage == "flipped":
        assert 1 <= len(features.broken[0].damaged) <= 64
    else:
        assert len(features.broken[0].damaged) == 64
    assert "--repair" in found.findings[0].advice


def test_of_a_part_that_is_flipped_one_row_is_named(in_hdf5: Broken):
    flip(in_hdf5.object(1), 2048 + 5120 * 7)
    (finding,) = in_hdf5.verified().findings
    assert "1 of 64 rows, the first 7" in finding.detail
    assert "not those that were committed" in finding.detail


@pytest.mark.parametrize("damage", ["cut", "empty", "another's", "foreign"])
def test_a_damaged_commit_record_is_found(in_zarr: Broken, damage: str):
    record = in_zarr.record(1)
    if damage == "cut":
        cut(record)
    elif damage == "empty":
        record.write_bytes(b"")
    elif damage == "another's":
        shutil.copy(in_zarr.record(0), record)
    else:
        pq.write_table(pa.table({"row": [1]}), record)
    found = in_zarr.verified()
    (finding,) = found.findings
    assert (finding.what, finding.severity, finding.shard) == ("record", "damaged", SHARDS[1])
    (features,) = found.feature_sets
    assert features.counts is not None
    assert (features.counts.ok, features.unknown, len(features.broken[0].damaged)) == (96, 64, 64)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("version", "other", "its rows, ids or versions are not those it was written with"),
        ("status", "void", "1 live rows, the first 64, are neither ok nor quarantined"),
        ("status", "quarantined", "a row that is quarantined holds features"),
        ("feature", "0123456789abcdef", "1 of 64 rows, the first 64: features are not those that were committed"),
    ],
)
def test_an_edited_record_is_found(in_zarr: Broken, column: str, value: str, words: str):
    table = pq.read_table(in_zarr.record(1))
    values = [value, *table[column].to_pylist()[1:]]
    table = table.set_column(table.schema.get_field_index(column), column, pa.array(values, pa.string()))
    pq.write_table(table, in_zarr.record(1))
    findings = in_zarr.verified().findings
    assert words in " ".join(finding.detail for finding in findings)
    assert {finding.severity for finding in findings} == {"damaged"}


def test_a_record_of_another_recipe_is_found(in_zarr: Broken):
    table = pq.read_table(in_zarr.record(0))
    said = json.loads(table.schema.metadata[b"trunkline.commit"]) | {"recipe": "other"}
    pq.write_table(table.replace_schema_metadata({"trunkline.commit": json.dumps(said)}), in_zarr.record(0))
    (finding,) = in_zarr.verified().findings
    assert "it is of another recipe (other)" in finding.detail


def test_an_edited_manifest_is_beyond_repair_and_its_records_stay(in_zarr: Broken):
    batch = in_zarr.path / "datasets/digits/manifest/batch-000000.parquet"
    table = pq.read_table(batch)
    ids = table["id"].to_pylist()
    ids[70] = "0/another.png"
    edited = table.set_column(1, "id", pa.array(ids)).replace_schema_metadata(pq.read_metadata(batch).metadata)
    pq.write_table(edited, batch)
    (finding,) = in_zarr.verified().findings
    assert (finding.what, finding.severity, finding.shard) == ("manifest", "irreparable", SHARDS[1])
    assert "restore the batch from a backup" in finding.advice


@pytest.mark.parametrize("damage", ["cut", "gone", "rows"])
def test_a_damaged_manifest_is_beyond_repair_and_the_arrays_are_checked_all_the_same(in_zarr: Broken, damage: str):
    batch = in_zarr.path / "datasets/digits/manifest/batch-000000.parquet"
    if damage == "cut":
        cut(batch)
    elif damage == "gone":
        batch.rename(batch.with_name("batch-000001.parquet"))
    else:
        table = pq.read_table(batch)
        rows = pa.array([row + 1 for row in table["row"].to_pylist()], pa.int64())
        pq.write_table(table.set_column(0, "row", rows).replace_schema_metadata(pq.read_metadata(batch).metadata), batch)
    flip(in_zarr.object(2))
    found = in_zarr.verified()
    assert in_zarr.whats() == [("features", "damaged"), ("manifest", "irreparable")]
    assert "restore it from a backup: nothing else knows which image had which row" in found.of_datasets[0].advice
    assert found.feature_sets[0].counts is None


def test_rows_that_never_were_and_batches_that_overlap_are_found(in_zarr: Broken):
    folder = in_zarr.path / "datasets/digits/manifest"
    table = pq.read_table(folder / "batch-000000.parquet")
    said = {"trunkline.start": "0", "trunkline.stop": "0"}
    gone = table.slice(0, 1).set_column(0, "row", pa.array([500], pa.int64())).replace_schema_metadata(said)
    pq.write_table(gone, folder / "batch-000001.parquet")
    words = " ".join(finding.detail for finding in in_zarr.verified().of_datasets)
    assert "it starts at row 0, and the batches before it end at 160" in words
    assert "it removes 1 rows that never held an image, the first 500" in words


@pytest.mark.parametrize(
    ("name", "what", "severity"),
    [
        ("datasets/digits/labels/000000.parquet", "labels", "irreparable"),
        ("datasets/digits/splits/000000.parquet", "splits", "irreparable"),
        ("datasets/digits/source.json", "source", "irreparable"),
        ("features/*/*/moments/*064-*.npz", "moments", "derived"),
        ("features/*/*/report.json", "report", "derived"),
        ("features/*/*/recipe.json", "feature set", "irreparable"),
        ("features/*/*/layout.json", "feature set", "irreparable"),
        ("backbones/*/*/golden.npz", "backbone", "irreparable"),
        ("heads/*/*/*/head.json", "head", "derived"),
        ("heads/*/*/*/linear.safetensors", "head", "derived"),
        ("predictions/*/*/*.parquet", "predictions", "derived"),
        ("masks/*/*/*/mask-000000.npz", "mask", "irreparable"),
    ],
)
def test_whatever_is_cut_is_found(in_zarr: Broken, name: str, what: str, severity: str):
    (place,) = in_zarr.path.glob(name)
    content = place.read_bytes()
    place.unlink()  # the backbone's files are shared
    place.write_bytes(content[: len(content) // 2])
    assert (what, severity) in in_zarr.whats()
    assert len(in_zarr.whats()) == 1


def test_a_backbone_that_is_gone_is_found(in_zarr: Broken):
    shutil.rmtree(in_zarr.path / "backbones")
    (finding,) = in_zarr.verified().findings
    assert (finding.what, finding.severity) == ("backbone", "irreparable")
    assert "does not hold the compiled backbone" in finding.detail


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_headers_of_arrays_can_be_made_anew(broken: Broken, damage: str):
    names = ("features.zarr/zarr.json", "features.zarr/avg_pool/zarr.json") if broken.format == "zarr" else ("features.h5",)
    for name in names:
        place = broken.features / name
        content = place.read_bytes()
        if damage == "cut":
            cut(place)
        else:
            place.unlink()
        assert broken.whats() == [("arrays", "derived")], name
        place.write_bytes(content)
    assert broken.whats() == []


def test_a_header_of_another_layout_is_found(in_zarr: Broken):
    place = in_zarr.features / "features.zarr/avg_pool/zarr.json"
    whole = json.loads(place.read_text())
    for shape, words in (([100, 1280], "says 100 rows, and 160 are committed"), ([160, 1281], "not this feature set's layout")):
        place.write_text(json.dumps(whole | {"shape": shape}))
        (finding,) = in_zarr.verified().findings
        assert words in finding.detail


def test_a_virtual_dataset_that_lacks_a_part_is_found(in_hdf5: Broken):
    features = FeatureSet.open(Location.of(in_hdf5.features))
    features.arrays._link(features.arrays._list()[:2])  # as a run that was killed before it sealed leaves it
    (finding,) = in_hdf5.verified().findings
    assert (finding.what, finding.severity) == ("arrays", "derived")
    assert "1 committed shards, the first 000000000128, are not in it" in finding.detail


def test_orphans_and_strangers_are_listed_apart(broken: Broken):
    broken.record(1).unlink()
    stranger = broken.features / "notes.txt"
    stranger.write_text("mine")
    for place in broken.features.rglob("*"):
        os.utime(place, (1, 1))
    found = broken.verified()
    assert found.findings == ()
    assert sorted(orphan.kind for orphan in found.orphans) == ["features", "moments"]
    assert found.unknown == (str(stranger),)


def test_a_disk_that_does_not_answer_is_no_damage(in_zarr: Broken, monkeypatch: pytest.MonkeyPatch):
    features = FeatureSet.open(Location.of(in_zarr.features))

    def stale(*_: object) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(features.arrays, "read", stale)
    with pytest.raises(StorageUnreachable, match="That is not taken for damage: check the disk or bucket, then verify again"):
        shard_check._read(features, "avg_pool", 0, 64)

    def torn(*_: object) -> None:
        raise OSError("Unable to open file (truncated file)")

    monkeypatch.setattr(features.arrays, "read", torn)
    with pytest.raises(CorruptStore, match=r"rows 0 to 64 of avg_pool cannot be read \(Unable to open file"):
        shard_check._read(features, "avg_pool", 0, 64)


def test_a_wrong_question_is_answered_in_words(in_zarr: Broken, tmp_path: Path):
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        with pytest.raises(StoreError, match=r"holds no dataset 'digit'\. Did you mean digits\? It has: digits\."):
            verify(str(in_zarr.path), cluster, "digit")
        with pytest.raises(StoreError, match="There is no feature store at"):
            verify(str(tmp_path / "nowhere"), cluster)
    memory = Location.of("memory://verify/store")
    (memory / "store.json").write(json.dumps({"format": "trunkline", "version": 1}).encode())
    with (
        Cluster(ClusterSpec(kind="local")) as cluster,
        pytest.raises(StoreError, match="they would see no store"),
    ):
        verify(memory.uri, cluster)
