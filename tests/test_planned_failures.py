"""A run is killed, all of its processes at once, at many moments; started again, it ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from tests.stores import ROWS, empty_store, extracted, feature_set_in, objects, spec_for
from trunkline import open_features
from trunkline.locations import Location
from trunkline.shards import plan
from trunkline.stages.extract import survey
from trunkline.store.feature_store import FeatureStore

IMAGES = 300
SHARDS = [shard.name for shard in plan([(0, IMAGES)], ROWS)]
PATIENCE_SECONDS = 120
HEADS = [{"kind": "softmax", "C": [0.001]}, {"kind": "forest", "trees": 1500}]  # the second one takes a while


@dataclass
class Runs:
    """`trunkline run` of one spec, as a user starts it."""

    store: Path
    source: Path
    format: str = "zarr"
    heads: list[dict[str, Any]] = field(default_factory=lambda: HEADS[:1])

    @property
    def spec(self):
        cluster = {"kind": "local", "workers": 1}
        return spec_for(self.source, self.store, format=self.format, heads=self.heads, cluster=cluster)

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """In a process group of its own, which is gone at the end."""
        place = self.store.parent / "spec.yaml"
        place.write_text(json.dumps(self.spec.model_dump(mode="json")))
        scratch = self.store.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        command = [sys.executable, "-c", "from trunkline.cli import main; main()", "run", str(place), "--json"]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=self.store.parent,
            env=os.environ | {"TMPDIR": str(scratch)},
        ) as process:
            try:
                yield process
            finally:
                kill_group(process)

    def killed_when(self, moment: Callable[[], object]) -> None:
        """Start it, and kill it once the moment has come."""
        with self.started() as process:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not moment():
                assert process.poll() is None, f"it ended before the moment came: {process.communicate()}"
                assert time.monotonic() < deadline, "the moment never came"
                time.sleep(0.002)
            assert process.poll() is None, "it ended before it could be killed"

    def finished(self) -> dict[str, Any]:
        """Start it and let it end; its summary."""
        with self.started() as process:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0, err
        summary: dict[str, Any] = json.loads(out.splitlines()[-1])
        return summary

    def commits(self) -> set[str]:
        return {file.stem for file in self.store.glob("features/*/*/commits/0*.parquet")}

    def objects_of(self, shards: set[str]) -> dict[str, tuple[str, int]]:
        """The commit records and feature objects of these shards."""
        start = {name: int(name) for name in shards}
        wanted = {f"commits/{name}.parquet" for name in shards}
        wanted |= {f"features.zarr/avg_pool/c/{row // ROWS}/0" for row in start.values()}
        wanted |= {f"parts/{row:012d}-{min(row + ROWS, IMAGES):012d}.h5" for row in start.values()}
        found = {name: what for name, what in objects(feature_set_in(self.store)).items() if name in wanted}
        assert len(found) == 2 * len(shards)
        return found


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill the command and its workers, and wait until the last of them is gone."""
    deadline = time.monotonic() + 30
    while True:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.poll()
        assert time.monotonic() < deadline, "the workers do not die"
        time.sleep(0.01)


def is_compiling(process_group_of: Path) -> bool:
    """Whether a process that compiles a backbone works below this folder."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
        except OSError:
            continue
        if b"trunkline.backbones.compilation" in command and str(process_group_of).encode() in environment:
            return True
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path, compiled_lite0: Path) -> np.ndarray:
    """Every feature, from the serial loop, in row order."""
    store = empty_store(tmp_path_factory.mktemp("undisturbed") / "store", compiled_lite0)
    extracted(spec_for(digits_folder, store))
    return open_features(store).numpy()[0]


@pytest.fixture(params=["zarr", "hdf5"])
def runs(request: pytest.FixtureRequest, tmp_path: Path, digits_folder: Path, compiled_lite0: Path) -> Runs:
    return Runs(empty_store(tmp_path / "store", compiled_lite0), digits_folder, request.param)


def plain(runs: Runs) -> np.ndarray:
    place = feature_set_in(runs.store)
    if runs.format == "zarr":
        return zarr.open(str(place / "features.zarr"), mode="r")["avg_pool"][:]
    with h5py.File(place / "features.h5", "r") as file:
        return file["avg_pool"][:]


def assert_as_if_nothing_had_happened(runs: Runs, summary: dict[str, Any], undisturbed: np.ndarray) -> None:
    assert (summary["rows"], summary["ok"], summary["pending"]) == (IMAGES, IMAGES, 0)
    assert runs.commits() == set(SHARDS)
    np.testing.assert_array_equal(open_features(runs.store).numpy()[0], undisturbed)
    np.testing.assert_array_equal(plain(runs), undisturbed)
    assert len(summary["heads"]) == len(runs.heads)
    assert not list(runs.store.rglob("*.json.*.tmp"))


def rows_of(shards: set[str]) -> int:
    return sum(min(ROWS, IMAGES - int(name)) for name in shards)


def killed_after(runs: Runs, commits: int) -> set[str]:
    """The shards that were committed when the run was killed; only their rows are visible."""
    runs.killed_when(lambda: len(runs.commits()) >= commits)
    done = runs.commits()
    assert len(done) >= commits
    features = open_features(runs.store)
    assert len(features.rows()) == rows_of(done)
    features.numpy()
    counts = survey(runs.spec).counts
    assert (counts.ok, counts.pending) == (rows_of(done), IMAGES - rows_of(done))
    return done


def resumes(runs: Runs, done: set[str], undisturbed: np.ndarray) -> None:
    before = runs.objects_of(done)
    summary = runs.finished()
    assert summary["extracted"] == IMAGES - rows_of(done)
    assert summary["reused"] == rows_of(done)
    assert runs.objects_of(done) == before
    assert_as_if_nothing_had_happened(runs, summary, undisturbed)


@pytest.mark.slow
def test_killed_after_a_commit(tmp_path: Path, digits_folder: Path, compiled_lite0: Path, undisturbed: np.ndarray):
    runs = Runs(empty_store(tmp_path / "store", compiled_lite0), digits_folder)
    resumes(runs, killed_after(runs, 1), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("commits", [1, 3, 5])
def test_killed_after_some_commits(runs: Runs, commits: int, undisturbed: np.ndarray):
    resumes(runs, killed_after(runs, commits), undisturbed)


@pytest.mark.slow
def test_killed_again_and_again(runs: Runs, undisturbed: np.ndarray):
    done: set[str] = set()
    before: dict[str, tuple[str, int]] = {}
    while len(done) < 4:
        done = killed_after(runs, len(done) + 1)
        now = runs.objects_of(done)
        assert {name: now[name] for name in before} == before
        before = now
    resumes(runs, done, undisturbed)
    leases = sorted((feature_set_in(runs.store) / "leases").glob("lease-*.json"))
    assert len(leases) > 2  # each run took its own


@pytest.mark.slow
def test_killed_before_the_first_commit(runs: Runs, undisturbed: np.ndarray):
    runs.killed_when(lambda: list(runs.store.glob("features/*/*/leases/lease-*.json")))
    resumes(runs, runs.commits(), undisturbed)


@pytest.mark.slow
def test_killed_while_the_backbone_is_compiled(tmp_path: Path, digits_folder: Path, undisturbed: np.ndarray):
    store = tmp_path / "store"
    FeatureStore.create(Location.of(store))
    runs = Runs(store, digits_folder)
    runs.killed_when(lambda: is_compiling(tmp_path))
    assert not list(store.glob("backbones/*/backbone.json"))
    assert not (store / "features").exists()
    summary = runs.finished()
    assert summary["extracted"] == IMAGES
    assert_as_if_nothing_had_happened(runs, summary, undisturbed)


@pytest.mark.slow
def test_killed_while_the_mask_is_made(runs: Runs, undisturbed: np.ndarray):
    """All shards are committed; where HDF5 has not been sealed yet, it is now."""
    runs.killed_when(lambda: (runs.store / "masks").exists() or len(runs.commits()) == len(SHARDS))
    resumes(runs, runs.commits(), undisturbed)


@pytest.mark.slow
def test_killed_between_two_heads(runs: Runs, undisturbed: np.ndarray):
    runs.heads = HEADS
    runs.killed_when(lambda: list(runs.store.glob("heads/*/*/softmax-*/head.json")))
    assert not list(runs.store.glob("heads/*/*/forest-*/head.json"))
    kept = objects(runs.store / "masks") | objects(runs.store / "heads") | objects(runs.store / "predictions")
    resumes(runs, set(SHARDS), undisturbed)
    after = objects(runs.store / "masks") | objects(runs.store / "heads") | objects(runs.store / "predictions")
    assert {name: after.get(name) for name in kept} == kept
    assert list(runs.store.glob("heads/*/*/forest-*/head.json"))
