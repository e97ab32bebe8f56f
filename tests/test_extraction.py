"""One shard: what becomes of each image, and that it is done once."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.manifests import said
from tests.stores import ROWS, copy_of, empty_store, feature_set_in, images_in, objects, spec_for
from trunkline import extraction, moments, shard_extraction
from trunkline.backbones.compiled import compiled
from trunkline.backbones.resolution import order_of
from trunkline.blocks import RowRecord, Status, feature_digest
from trunkline.clusters import Cluster
from trunkline.engine import Engine
from trunkline.errors import CorruptStore, LeaseLost, SourceError, StorageError, StorageUnreachable
from trunkline.extraction import ExtractionJob, SharedJob, extract_shard
from trunkline.locations import Location
from trunkline.shards import Shard
from trunkline.stages.extract import extract
from trunkline.stages.scan import scan
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.store.layout import ArrayLayout
from trunkline.store.lease import Lease, hold

SHARD = Shard(0, 40)
ENGINE = Engine("openvino", "f32", workers=1, threads=1, readers=2, batch=2, images_ahead=64, in_flight_bytes=2**29)


@pytest.fixture
def images(tmp_path: Path, digits_folder: Path) -> Path:
    return images_in(tmp_path / "images", digits_folder, SHARD.stop)


@pytest.fixture
def job(images: Path, tmp_path: Path, compiled_lite0: Path) -> ExtractionJob:
    """Forty images were scanned; the lease is held by a run elsewhere."""
    spec = spec_for(images, tmp_path / "store")
    scan(spec)
    store = FeatureStore.open(Location.of(spec.store))
    order = order_of(spec)
    recipe, backbone = order.recipe, compiled(Location.of(compiled_lite0), order)
    features = FeatureSet.create(store.feature_set_location("digits", recipe), recipe, ArrayLayout("zarr", ROWS, backbone.dims))
    features.arrays.grow(SHARD.stop)
    lease = Lease(features.leases, 3, "elsewhere", 1, "boot:1", "token")
    lease.location.write(lease.to_bytes())
    return ExtractionJob(store.dataset("digits").location, features.location, backbone, ENGINE, lease)


def rows_of(job: ExtractionJob) -> list[dict]:
    return FeatureSet.open(job.feature_set).commits.read(SHARD.name).table.to_pylist()


def test_a_shard_is_read_written_and_committed(job: ExtractionJob, images: Path):
    receipt = extract_shard(job, SHARD)
    assert (receipt.statuses, receipt.reasons, receipt.reused) == ({"ok": 40}, {}, False)
    features = FeatureSet.open(job.feature_set)
    commit = features.commits.read(SHARD.name)
    assert (commit.lease, commit.recipe, commit.shard) == (3, job.feature_set.name, SHARD)
    assert commit.environment["runtime"] == "openvino"
    timings = commit.timings
    assert min(timings.read, timings.decode, timings.forward, timings.write) > 0
    assert timings.first_read <= timings.committed
    values = features.arrays.read("avg_pool", 0, 40)
    files = objects(images)
    for row, feature in zip(rows_of(job), values, strict=True):
        assert row["sha256"] == files[row["id"]][0]
        assert row["size"] == (images / row["id"]).stat().st_size
        assert row["feature"] == feature_digest([feature])


def test_moments_are_of_the_training_rows(job: ExtractionJob):
    extract_shard(job, SHARD)
    features = FeatureSet.open(job.feature_set)
    splits = said(Dataset(job.dataset).splits, 0, 40)
    training = np.array([row for row, split in enumerate(splits) if split == "train"])
    assert 0 < len(training) < 40
    stored = moments.load(moments.place(features.moments, SHARD.name, training), ["avg_pool"])["avg_pool"]
    values = features.arrays.read("avg_pool", 0, 40)[training].astype(np.float64)
    np.testing.assert_allclose(stored.variance, values.var(axis=0), rtol=1e-12)
    assert stored.count == len(training)


def test_a_committed_shard_is_left_as_it_is(job: ExtractionJob):
    first = extract_shard(job, SHARD)
    before = objects(job.feature_set.path)
    again = extract_shard(job, SHARD)
    assert again.reused
    assert again.statuses == first.statuses
    assert again.timings == first.timings
    assert objects(job.feature_set.path) == before


def test_the_record_of_a_faster_run_stays(job: ExtractionJob, monkeypatch: pytest.MonkeyPatch):
    """It was committed while this one was computing."""
    extract_shard(job, SHARD)
    before = objects(job.feature_set.path / "commits")
    monkeypatch.setattr("trunkline.store.commits.Commits.has", lambda *_: False)
    assert extract_shard(job, SHARD).reused
    assert objects(job.feature_set.path / "commits") == before


def test_a_record_of_other_features_is_said(job: ExtractionJob, images: Path, monkeypatch: pytest.MonkeyPatch):
    """It was committed while this one was computing, and an image was swapped in between."""
    extract_shard(job, SHARD)
    before = objects(job.feature_set.path / "commits")
    monkeypatch.setattr("trunkline.store.commits.Commits.has", lambda *_: False)
    sorted(images.glob("*/*.png"))[0].unlink()
    with pytest.raises(
        CorruptStore, match=r"shard 000000000000 of .* by another process while its images changed.* verify --repair"
    ):
        extract_shard(job, SHARD)
    assert objects(job.feature_set.path / "commits") == before


def test_who_was_stopped_while_it_wrote_commits_nothing_after_a_takeover(job: ExtractionJob, monkeypatch: pytest.MonkeyPatch):
    store = shard_extraction.OpenRecipe.store

    def taken_over_meanwhile(worker, *given):
        commit = store(worker, *given)
        replace(job.lease, number=4).location.write(replace(job.lease, number=4).to_bytes())
        return commit

    monkeypatch.setattr(shard_extraction.OpenRecipe, "store", taken_over_meanwhile)
    with pytest.raises(LeaseLost, match=r"nothing more is written"):
        extract_shard(job, SHARD)
    assert FeatureSet.open(job.feature_set).commits.done() == frozenset()


def test_each_failure_has_its_reason(job: ExtractionJob, images: Path):
    files = sorted(images.glob("*/*.png"))
    files[0].unlink()
    files[1].write_bytes(files[2].read_bytes())
    files[3].unlink()
    files[3].mkdir()
    receipt = extract_shard(job, SHARD)
    assert receipt.statuses == {"ok": 37, "quarantined": 3}
    rows = rows_of(job)
    assert [rows[number]["reason"] for number in (0, 1, 3)] == ["missing", "changed", "unreadable"]
    assert rows[0]["detail"] == "not there any more; scan again"
    assert Counter(row["feature"] == "" for row in rows)[True] == 3


def test_an_image_that_was_removed_before_it_was_read_is_void(job: ExtractionJob, images: Path):
    gone = sorted(images.glob("*/*.png"))[5]
    gone.unlink()
    scan(spec_for(images, job.feature_set.path.parents[2]))
    receipt = extract_shard(job, SHARD)
    assert receipt.statuses == {"ok": 39, "void": 1}
    assert rows_of(job)[5]["detail"] == "removed before it was read"
    assert np.isnan(FeatureSet.open(job.feature_set).arrays.read("avg_pool", 5, 6)).all()


def test_no_more_images_are_read_ahead_than_allowed(job: ExtractionJob, monkeypatch: pytest.MonkeyPatch):
    """Memory is bounded by the batch, not by the shard."""
    job = replace(job, engine=replace(ENGINE, images_ahead=3))
    worker = extraction._worker_of(SharedJob((job,)))
    started, load = [], worker.stream.load
    monkeypatch.setattr(worker.stream, "load", lambda row, wanted: started.append(row) or load(row, wanted))
    for number, _ in enumerate(worker.stream.of(worker.manifest.read(SHARD), [[0]] * SHARD.rows), 1):
        assert len(started) - number < 3
    assert len(started) == 40


def test_nothing_is_committed_without_the_lease(job: ExtractionJob):
    after = Lease(job.lease.folder, 4, "elsewhere", 2, "boot:1", "token")
    after.location.write(after.to_bytes())
    with pytest.raises(LeaseLost, match=r"The run with lease 3 on .* was taken over; nothing more is written"):
        extract_shard(job, SHARD)
    assert FeatureSet.open(job.feature_set).commits.done() == frozenset()
    assert not any("features.zarr/avg_pool/c/" in name for name in objects(job.feature_set.path))


def test_a_lease_that_is_lost_while_computing_stops_at_the_next_batch(job: ExtractionJob, monkeypatch: pytest.MonkeyPatch):
    worker = extraction._worker_of(SharedJob((job,)))
    monkeypatch.setattr(shard_extraction.OpenRecipe.check_lease, "__defaults__", (0.0,))
    load, seen = worker.stream.load, []

    def lose_it_on_the_way(row, wanted):
        seen.append(row)
        if len(seen) == 10:
            job.lease.location.remove()
        return load(row, wanted)

    monkeypatch.setattr(worker.stream, "load", lose_it_on_the_way)
    with pytest.raises(LeaseLost, match=r"nothing more is written"):
        extract_shard(job, SHARD)
    assert not any("features.zarr/avg_pool/c/" in name for name in objects(job.feature_set.path))


def test_a_store_that_cannot_be_written_is_said_in_words(job: ExtractionJob):
    place = job.feature_set.path / "features.zarr/avg_pool/c"
    place.write_text("a file in the way")
    with pytest.raises(StorageError, match=rf"Writing {job.feature_set} failed .*; what was committed is kept"):
        extract_shard(job, SHARD)
    assert FeatureSet.open(job.feature_set).commits.done() == frozenset()


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_a_feature_that_is_not_finite_goes_to_quarantine(odd: float):
    record = RowRecord(0, "a.png", "v", Status.OK)
    out = {"one": np.array([[1.0, odd], [1.0, 2.0]], np.float32), "two": np.ones((2, 3), np.float32)}
    bad, good = shard_extraction._finished([record, record._replace(row=1)], out)
    assert (bad.status, bad.reason, bad.feature) == (Status.QUARANTINED, "non-finite", "")
    assert all(np.isnan(values[0]).all() and np.isfinite(values[1]).all() for values in out.values())
    assert (good.status, good.feature) == (Status.OK, feature_digest([values[1] for values in out.values()]))
    assert shard_extraction._finished([bad, bad], out) == [bad, bad]


def test_another_job_gets_a_worker_of_its_own(job: ExtractionJob, finished_store: Path, tmp_path: Path):
    first = extraction._worker_of(SharedJob((job,)))
    assert extraction._worker_of(SharedJob((job,))) is first
    other = copy_of(finished_store, tmp_path / "other")
    with hold(Location.of(feature_set_in(other) / "leases")) as lease:
        job = ExtractionJob(
            Location.of(other / "datasets/digits"), Location.of(feature_set_in(other)), job.backbone, ENGINE, lease
        )
        assert extraction._worker_of(SharedJob((job,))) is not first
        assert extract_shard(job, Shard(ROWS, 2 * ROWS)).reused


def test_a_disk_that_is_not_mounted_records_nothing(tmp_path: Path, compiled_lite0: Path, digits_folder: Path):
    source, store = images_in(tmp_path / "images", digits_folder, 70), empty_store(tmp_path / "store", compiled_lite0)
    spec = spec_for(source, store)
    scan(spec)
    source.rename(tmp_path / "elsewhere")
    with Cluster(spec.cluster) as cluster:
        with pytest.raises(SourceError, match="does not exist"):
            extract(spec, cluster)
        source.mkdir()
        with pytest.raises(StorageUnreachable, match=r"None of 64 images, from .* on, is under .* mounted\?"):
            extract(spec, cluster)
        source.rmdir()
        (tmp_path / "elsewhere").rename(source)
        assert extract(spec, cluster).counts.ok == 70


def test_a_store_made_anew_at_the_same_place_is_another(tmp_path: Path, compiled_lite0: Path, digits_folder: Path):
    """In a process that lives on, as a Prefect worker's does."""
    for count in (66, 140):
        shutil.rmtree(tmp_path, ignore_errors=True)
        source, store = images_in(tmp_path / "images", digits_folder, count), empty_store(tmp_path / "store", compiled_lite0)
        spec = spec_for(source, store)
        scan(spec)
        with Cluster(spec.cluster) as cluster:
            assert extract(spec, cluster).extracted == count
