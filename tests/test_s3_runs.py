"""Whole runs with store and source on S3: equal bit for bit to a local run, whatever fails on the way."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults import FaultyEndpoint
from tests.s3 import ACCESS_KEY, SECRET, objects_in, upload
from tests.stores import ROWS, images_in, spec_for
from tests.test_planned_failures import kill_group
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import SourceError, StoreError
from trunkline.locations import Location
from trunkline.reader import Features
from trunkline.specs import RunSpec
from trunkline.stages.extract import survey
from trunkline.stages.run import run
from trunkline.stages.scan import scan
from trunkline.store.feature_store import FeatureStore

Faulty = Callable[..., FaultyEndpoint]
IMAGES = 160
PATIENCE_SECONDS = 240


@pytest.fixture
def spec(bucket: Location, finished_store: Path, compiled_lite0: Path) -> RunSpec:
    """A bucket with the images of `finished_store` and a store that holds nothing but the compiled backbone."""
    upload(finished_store.parent / "images", bucket / "images")
    FeatureStore.create(bucket / "store")
    upload(compiled_lite0 / "backbones", bucket / "store/backbones")
    return spec_for(f"{bucket}/images", f"{bucket}/store")  # type: ignore[arg-type]


def assert_equal_to(finished: Path, spec: RunSpec) -> Features:
    there, here = open_features(spec.store), open_features(finished)
    np.testing.assert_array_equal(there.numpy()[0], here.numpy()[0])
    np.testing.assert_array_equal(there.numpy()[1], here.numpy()[1])
    same = ["row", "id", "label", "split", "status", "reason", "sha256"]
    assert there.index().select(same).equals(here.index().select(same))
    return there


def started(spec: RunSpec, folder: Path) -> subprocess.Popen[str]:
    """`trunkline run`, as a user starts it, in a process group of its own."""
    place = folder / "spec.yaml"
    place.write_text(json.dumps(spec.model_dump(mode="json")))
    command = [sys.executable, "-c", "from trunkline.cli import main; main()", "run", str(place), "--json"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=folder,
        env={**os.environ},
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        kill_group(process)
    assert process.returncode == 0, err
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def commits_in(spec: RunSpec) -> set[str]:
    places = [
        features.commits
        for d in FeatureStore.open(Location.of(spec.store)).datasets()
        for features in _feature_sets(spec, d.name)
    ]
    return {name for commits in places for name in commits.done()}


def _feature_sets(spec: RunSpec, dataset: str) -> list[Any]:
    return list(FeatureStore.open(Location.of(spec.store)).feature_sets(dataset))


def test_a_run_under_faults_is_equal_to_a_local_one(spec: RunSpec, finished_store: Path, faulty: Faulty):
    """Each tenth request fails, in every way that S3 fails; each row is counted, and no image is blamed."""
    endpoint = faulty(rate=0.1, seed=7)
    with Cluster(spec.cluster) as cluster:
        receipt = run(spec, cluster)
    assert sum(endpoint.done.values()) > 20
    assert len(endpoint.done) >= 4
    features = assert_equal_to(finished_store, spec)
    counts = survey(spec).counts
    assert (counts.ok, counts.quarantined, counts.pending) == (IMAGES, 0, 0)
    assert len(features.rows()) == IMAGES
    assert receipt is not None


def test_no_credentials_in_the_store_or_what_is_said(spec: RunSpec, caplog: pytest.LogCaptureFixture, tmp_path: Path):
    caplog.set_level(logging.INFO)
    scan(spec)
    with Cluster(spec.cluster) as cluster:
        run(spec, cluster)
    process = started(spec, tmp_path)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    said = {
        "stdout": out.encode(),
        "stderr": err.encode(),
        "log": caplog.text.encode(),
        "spec": spec.model_dump_json().encode(),
    }
    everything = objects_in(Location.of(spec.store)) | said
    assert any(name.endswith("report.html") for name in everything)
    for name, content in everything.items():
        assert SECRET.encode() not in content, name
        assert ACCESS_KEY.encode() not in content, name


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "rate"), [(2, 0.0), (1, 0.1)])
def test_killed_and_started_again(kills: int, rate: float, spec: RunSpec, finished_store: Path, faulty: Faulty, tmp_path: Path):
    spec = spec.model_copy(update={"cluster": spec.cluster.model_copy(update={"kind": "local", "workers": 1})})
    faulty(rate=rate, seed=8)
    done: set[str] = set()
    for kill in range(kills):
        process = started(spec, tmp_path)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while len(done := commits_in(spec)) <= kill:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "nothing is committed"
        finally:
            kill_group(process)
            process.communicate()
    done = commits_in(spec)
    kept = {name: content for name, content in objects_in(Location.of(spec.store)).items() if "/commits/" in name}
    summary = ended(started(spec, tmp_path))
    assert (summary["rows"], summary["ok"], summary["pending"]) == (IMAGES, IMAGES, 0)
    assert summary["reused"] == sum(min(ROWS, IMAGES - int(name)) for name in done)
    after = objects_in(Location.of(spec.store))
    assert {name: after[name] for name in kept} == kept
    assert_equal_to(finished_store, spec)


@pytest.mark.slow
def test_new_images_in_the_bucket_are_extracted_and_no_others(
    spec: RunSpec, bucket: Location, digits_folder: Path, tmp_path: Path
):
    with Cluster(spec.cluster) as cluster:
        run(spec, cluster)
        before = objects_in(Location.of(spec.store))
        upload(images_in(tmp_path / "more", digits_folder, 10, first=IMAGES), bucket / "images")
        run(spec, cluster)
    counts = survey(spec).counts
    assert (counts.ok, counts.pending) == (IMAGES + 10, 0)
    after = objects_in(Location.of(spec.store))
    written_once = {name for name in before if "/commits/" in name or "/c/" in name}
    assert {name: after[name] for name in written_once} == {name: before[name] for name in written_once}


def test_hdf5_on_s3_is_refused_before_anything_is_written(spec: RunSpec):
    scan(spec)
    before = objects_in(Location.of(spec.store))
    hdf5 = spec.model_copy(update={"storage": spec.storage.model_copy(update={"format": "hdf5"})})
    with Cluster(spec.cluster) as cluster, pytest.raises(StoreError, match=r"HDF5 cannot be written to s3://"):
        run(hdf5, cluster)
    assert objects_in(Location.of(spec.store)) == before


def test_a_source_that_is_not_there_is_refused(bucket: Location):
    with pytest.raises(
        SourceError, match=r"The source s3://.*/images does not exist: the bucket holds no key below it\. Check the path"
    ):
        scan(spec_for(f"{bucket}/images", f"{bucket}/store"))  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"does not exist: there is no bucket trunkline-nosuch"):
        scan(spec_for("s3://trunkline-nosuch/images", f"{bucket}/store"))  # type: ignore[arg-type]
    assert bucket.names() == []
