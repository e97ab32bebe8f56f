"""What goes wrong around a run: clocks, other runs, torn objects, memory, a source that changes. All rows are right at the end."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stores import ROWS, copy_of, empty_store, extracted, feature_set_in, images_in, objects, spec_for
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import RunError
from trunkline.extraction import RowsReceipt, SharedJob, extract_rows
from trunkline.maintenance.verify import verify
from trunkline.progress import Step
from trunkline.shards import Shard
from trunkline.specs import ClusterSpec, RunSpec
from trunkline.stages import up_to_date
from trunkline.stages.extract import extract, survey
from trunkline.stages.run import run
from trunkline.stages.scan import scan

IMAGES = 160  # as in `finished_store`
JUMPING_CLOCK = """
import time
real, began = time.time, time.monotonic()
def jumping():
    passed = time.monotonic() - began
    return real() + (0 if passed < 2 else 86_400 if passed < 5 else -86_400)
time.time = jumping
"""


@pytest.fixture
def images(tmp_path: Path, digits_folder: Path) -> Path:
    return images_in(tmp_path / "images", digits_folder, IMAGES)


@pytest.fixture
def store(tmp_path: Path, compiled_lite0: Path) -> Path:
    return empty_store(tmp_path / "store", compiled_lite0)


def by_id(store: Path) -> dict[str, np.ndarray]:
    """The features of each live image."""
    features = open_features(store)
    index = features.index()
    names = dict(zip(index["row"].to_pylist(), index["id"].to_pylist(), strict=True))
    return {names[row]: x for row, x in zip(features.rows().tolist(), features.numpy()[0], strict=True)}


def assert_as(expected: Path, store: Path) -> None:
    """Equal bit for bit, in the same rows, and nothing is wrong with the store."""
    here, there = open_features(store), open_features(expected)
    np.testing.assert_array_equal(here.rows(), there.rows())
    np.testing.assert_array_equal(here.numpy()[0], there.numpy()[0])
    assert_sound(store)


def assert_sound(store: Path) -> None:
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        assert verify(str(store), cluster).findings == ()


def started(spec: RunSpec, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """`trunkline run`, as a user starts it."""
    (folder / "spec.yaml").write_text(json.dumps(spec.model_dump(mode="json")))
    command = [sys.executable, "-c", "from trunkline.cli import main; main()", "run", "spec.yaml", "--json"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=os.environ | environment)


def summary_of(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return said


def assert_counted(summary: Mapping[str, Any], rows: int = IMAGES) -> None:
    assert (summary["rows"], summary["ok"], summary["quarantined"], summary["pending"]) == (rows, rows, 0, 0)


@pytest.mark.slow
def test_the_clock_jumps_a_day_forth_and_two_back(images: Path, store: Path, tmp_path: Path, finished_store: Path):
    """In driver and workers, while they run."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPING_CLOCK)
    path = os.pathsep.join([str(tmp_path / "clock"), os.environ.get("PYTHONPATH", "")])
    spec = spec_for(images, store, cluster={"kind": "local", "workers": 1})
    assert_counted(summary_of(started(spec, tmp_path, PYTHONPATH=path)))
    assert_as(finished_store, store)
    assert summary_of(started(spec, tmp_path))["extracted"] == 0  # nor is anything done twice later


def test_no_speed_is_told_where_the_clock_went_back(
    tmp_path: Path, store: Path, digits_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    times = iter(range(10_000, 0, -1))
    monkeypatch.setattr("trunkline.shard_extraction.time.time", lambda: float(next(times)))
    receipt = extracted(spec_for(images_in(tmp_path / "images", digits_folder, 10), store))
    assert receipt.counts.ok == 10
    assert receipt.images_per_second is None


@pytest.mark.parametrize("format_", ["zarr", pytest.param("hdf5", marks=pytest.mark.slow)])
def test_two_runs_are_started_together(images: Path, store: Path, tmp_path: Path, finished_store: Path, format_: str):
    """One waits for the other; both end well, and each row was done once."""
    spec = spec_for(images, store, format=format_)
    said = [summary_of(process) for process in [started(spec, tmp_path), started(spec, tmp_path)]]
    for each in said:
        assert_counted(each)
    assert sum(each["extracted"] for each in said) == IMAGES
    assert said[0]["heads"] == said[1]["heads"]
    assert_as(finished_store, store)


@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("format_", ["zarr", "hdf5"])
def test_a_torn_object_without_a_commit_record(
    images: Path, store: Path, tmp_path: Path, finished_store: Path, format_: str, share: float
):
    """Half an object, an empty one, one with more than belongs to it: it is made anew, and no other one is touched."""
    spec = spec_for(images, store, format=format_)
    extracted(spec)
    torn = copy_of(store, tmp_path / "torn")
    features, name = feature_set_in(torn), f"{ROWS:012d}"
    (features / f"commits/{name}.parquet").unlink()
    (place,) = (features / "parts").glob(f"{name}-*.h5") if format_ == "hdf5" else [features / "features.zarr/avg_pool/c/1/0"]
    content = place.read_bytes()
    place.write_bytes((content * 2)[: int(share * len(content))])
    kept = {each: what for each, what in objects(features / "commits").items() if each != f"{name}.parquet"}
    receipt = extracted(spec.model_copy(update={"store": str(torn)}))
    assert (receipt.extracted, receipt.reused, receipt.counts.ok, receipt.counts.pending) == (ROWS, IMAGES - ROWS, IMAGES, 0)
    assert {each: what for each, what in objects(features / "commits").items() if each in kept} == kept
    assert_as(finished_store, torn)


def with_little_memory(shared: SharedJob, rows: Shard) -> RowsReceipt:
    """`extract_rows` in a process that gets no more memory than it has."""
    until = time.monotonic() + 30
    while sum("Dask-Default-Threads" in thread.name for thread in threading.enumerate()) < 2 and time.monotonic() < until:
        time.sleep(0.01)  # a thread that starts without memory never says so, and Dask's event loop would wait for it
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20, resource.RLIM_INFINITY))
    try:
        return extract_rows(shared, rows)
    finally:  # the worker has to tell what happened
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_a_worker_is_out_of_memory(
    images: Path, store: Path, finished_store: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The run ends and says what helps; with more memory it goes on."""
    spec = spec_for(images, store, cluster={"kind": "local", "workers": 1})
    scan(spec)
    with monkeypatch.context() as patched, Cluster(spec.cluster) as cluster:
        patched.setattr(up_to_date, "extract_rows", with_little_memory)
        with pytest.raises(RunError, match=r"out of memory.*again with fewer workers; what was committed is kept"):
            extract(spec, cluster)
    capfd.readouterr()
    counts = survey(spec).counts
    assert (counts.ok, counts.pending) == (0, IMAGES)
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        extract(spec, cluster)
    assert_as(finished_store, store)


def test_the_source_changes_while_it_is_read(
    images: Path, store: Path, tmp_path: Path, digits_folder: Path, compiled_lite0: Path
):
    """A file replaced, one removed and one added after the first shard: two rows are quarantined, and the next run makes it right."""
    spec = spec_for(images, store)
    files = sorted(file for file in images.glob("*/*.png"))
    replaced, removed = files[100], files[150]

    def change(step: Step) -> None:
        if step.stage == "extract" and step.done == ROWS:
            shutil.copyfile(files[0], replaced)
            removed.unlink()
            images_in(images, digits_folder, 1, first=IMAGES)

    scan(spec)
    with Cluster(spec.cluster) as cluster:
        receipt = extract(spec, cluster, change)
    assert dict(receipt.reasons) == {"changed": 1, "missing": 1}
    assert asdict(receipt.counts) == {"ok": IMAGES - 2, "quarantined": 2, "pending": 0, "removed": 0, "void": 0}
    kept = objects(feature_set_in(store) / "commits")
    found = scan(spec)
    assert (found.added, found.changed, found.removed) == (1, 1, 1)
    with Cluster(spec.cluster) as cluster:
        summary = run(spec, cluster).summary()
    assert_counted(summary)
    assert summary["extracted"] == 2
    after = objects(feature_set_in(store) / "commits")
    assert {name: after[name] for name in kept} == kept
    anew = empty_store(tmp_path / "anew", compiled_lite0)
    extracted(spec_for(images, anew))
    expected, got = by_id(anew), by_id(store)
    assert got.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(got[name], x)
    assert_sound(store)
