"""Workers are compared with the process that starts a run: each difference is named with the worker that has it."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clusters.processes import scheduler, worker
from tests.stores import copy_of, empty_store, feature_set_in, images_in, spec_for
from trunkline.backbones.compiled import Compiled, compiled
from trunkline.clusters import Cluster, surroundings
from trunkline.clusters.admission import Admission, _tell_what_is_harmless, admitted, faults, refusal
from trunkline.clusters.surroundings import Needs, look
from trunkline.errors import ClusterError
from trunkline.fan_out import DaskExecutor, SerialExecutor
from trunkline.locations import Location
from trunkline.specs import ClusterSpec
from trunkline.stages.extract import extract
from trunkline.stages.scan import scan
from trunkline.store.feature_set import FeatureSet
from trunkline.store.lease import hold

OTHER_NUMPY = """
from importlib.metadata import version
from trunkline import environment
environment.version = lambda name: "1.2.3" if name == "numpy" else version(name)
"""
NO_TRUNKLINE = """
import sys
sys.modules["trunkline.clusters.surroundings"] = None
"""


def may_mount() -> bool:
    """Whether a process may have file systems of its own here."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def address_spec(address: str) -> ClusterSpec:
    return ClusterSpec(kind="address", address=address, patience=60)


def takes_a_moment(_: object, item: int) -> int:
    time.sleep(0.05)
    return item


@pytest.fixture
def features(finished_store: Path, tmp_path: Path) -> FeatureSet:
    return FeatureSet.open(Location.of(feature_set_in(copy_of(finished_store, tmp_path / "store"))))


def test_this_process_has_what_it_needs(features: FeatureSet, finished_store: Path):
    with hold(features.leases) as lease:
        seen = look(
            Needs("openvino", features.location, lease, None, Location.of(finished_store / "datasets/digits"), scratch=1)
        )
    assert seen.troubles == ()
    assert {"trunkline", "Python", "numpy", "pillow", "simplejpeg", "opencv-python-headless", "openvino"} == set(seen.deciding)
    assert "missing" not in seen.deciding.values()
    assert "zarr" in seen.beside
    assert seen.cores >= 1


def test_another_disk_under_the_same_name_is_noticed(features: FeatureSet):
    """The feature set is there, and the lease that this run has just taken is not."""
    with hold(features.leases) as lease:
        shutil.rmtree(lease.folder.path)
        (trouble,) = look(Needs(features=features.location, lease=lease)).troubles
    assert f"sees another {features.location} than this run" in trouble
    assert "Is it a disk of its own?" in trouble


def test_a_store_that_is_not_there(tmp_path: Path):
    (trouble,) = look(Needs(features=Location.of(tmp_path / "nowhere"))).troubles
    assert trouble.startswith(f"There is no feature set at {tmp_path}/nowhere")


def test_a_backbone_that_is_not_there(compiled_lite0: Path, lite0_order, tmp_path: Path):
    whole: Compiled = compiled(Location.of(compiled_lite0), lite0_order)
    assert look(Needs(backbone=whole)).troubles == ()
    (trouble,) = look(Needs(backbone=replace(whole, location=Location.of(tmp_path)))).troubles
    assert "does not see " in trouble
    assert "model.xml" in trouble
    assert f"of the compiled backbone in {tmp_path}" in trouble


def test_a_source_that_is_not_there(finished_store: Path, tmp_path: Path):
    shutil.copytree(finished_store / "datasets", tmp_path / "datasets")
    said = tmp_path / "datasets/digits/source.json"
    said.write_text(said.read_text().replace(str(finished_store.parent / "images"), str(tmp_path / "gone")))
    (trouble,) = look(Needs(dataset=Location.of(tmp_path / "datasets/digits"))).troubles
    assert f"{tmp_path}/gone" in trouble
    assert "does not exist" in trouble


def test_a_disk_that_is_too_full():
    (trouble,) = look(Needs(scratch=2**62)).troubles
    assert "free in " in trouble
    assert "and needs 4194304.0 TiB: make room, or set TMPDIR to another disk for the worker" in trouble


@pytest.mark.usefixtures("tensorflow")
def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    (trouble,) = look(Needs(gpu=True)).troubles
    assert trouble.startswith("TensorFlow sees no GPU (CUDA_VISIBLE_DEVICES is 7): is a driver there")


def test_a_look_that_takes_too_long_is_a_trouble(monkeypatch: pytest.MonkeyPatch):
    import asyncio

    monkeypatch.setattr(surroundings, "LOOK_SECONDS", 0.0)
    seen = asyncio.run(surroundings.look_aside(Needs()))
    assert seen.troubles == ("store, source or GPU did not answer within 0 s",)
    assert faults(look(Needs()), seen) == list(seen.troubles)


def test_a_look_that_fails_is_a_trouble(monkeypatch: pytest.MonkeyPatch):
    import asyncio

    def breaks(_: Needs) -> None:
        raise RuntimeError("the driver of the driver")

    monkeypatch.setattr(surroundings, "look", breaks)
    seen = asyncio.run(surroundings.look_aside(Needs()))
    assert seen.troubles == ("cannot look at itself (RuntimeError: the driver of the driver)",)


def test_what_differs_is_said_with_both_versions():
    mine = look(Needs())
    other = replace(mine, deciding={**mine.deciding, "numpy": "1.2.3"}, troubles=("cannot see the store",))
    here = mine.deciding["numpy"]
    assert faults(mine, mine) == []
    assert faults(mine, other) == [
        "cannot see the store",
        f"has numpy 1.2.3, and the process that starts the run {here}",
    ]


def test_many_workers_are_named_shortly():
    words = str(refusal({f"tcp://w{number}:1": ("host", ["has a cold"]) for number in range(13)}, 20))
    assert words.startswith("13 of 20 workers cannot do this work, or would do it otherwise:\n  tcp://w0:1 on host: has a cold")
    assert "\n  and 3 more\n" in words
    assert "one feature set must not hold two kinds" in words


def test_what_moves_no_feature_is_a_warning(caplog: pytest.LogCaptureFixture):
    mine = look(Needs())
    others = {f"tcp://w{number}:1": replace(mine, beside={**mine.beside, "zarr": "3.0"}) for number in range(2)}
    with caplog.at_level(logging.WARNING):
        _tell_what_is_harmless(mine, {**others, "tcp://same:1": mine})
    (record,) = caplog.records
    assert "2 of 3 workers: has zarr 3.0, and the process that starts the run" in record.message
    assert "tcp://w0:1, tcp://w1:1" in record.message


def test_an_admission_is_asked_once_a_process():
    driver, tries = look(Needs()), []
    admission = Admission(driver, Needs())
    admission()
    shunned = Admission(replace(driver, deciding={**driver.deciding, "numpy": "0"}), Needs())
    for _ in range(2):
        with pytest.raises(ClusterError, match=r"1 of 1 workers cannot .*\n  process \d+ on .*: has numpy .* the run 0"):
            shunned()
        tries.append(1)
    admission()


def test_the_serial_loop_needs_no_admission():
    with admitted(SerialExecutor(), Needs(scratch=2**62)):
        pass


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder, and a scheduler with one good worker in it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with scheduler(folder) as address, worker(folder, address, name="good"):
        yield folder, address


@pytest.mark.slow
def test_a_worker_with_another_version_is_refused_before_work(elsewhere: tuple[Path, str]):
    folder, address = elsewhere
    with worker(folder, address, name="old", before=OTHER_NUMPY), Cluster(address_spec(address)) as cluster:
        with pytest.raises(ClusterError, match=r"1 of 2 workers cannot") as refused:
            _ = cluster.executor
        here = look(Needs()).deciding["numpy"]
        assert f"has numpy 1.2.3, and the process that starts the run {here}" in str(refused.value)
        assert str(refused.value).count("tcp://") == 1


@pytest.mark.slow
def test_a_worker_without_this_trunkline_is_refused_in_words(elsewhere: tuple[Path, str]):
    folder, address = elsewhere
    with (
        worker(folder, address, name="bare", before=NO_TRUNKLINE),
        Cluster(address_spec(address)) as cluster,
        pytest.raises(
            ClusterError, match=r"tcp://[0-9.:]+: cannot run this trunkline \(.*ModuleNotFoundError.*\): install it there"
        ),
    ):
        _ = cluster.executor


@pytest.mark.slow
def test_a_worker_that_joins_later_is_looked_at_too(elsewhere: tuple[Path, str]):
    folder, address = elsewhere
    with contextlib.ExitStack() as later, Cluster(address_spec(address)) as cluster:
        assert isinstance(cluster.executor, DaskExecutor)
        assert list(cluster.executor.map(takes_a_moment, None, [1])) == [1]
        later.enter_context(worker(folder, address, name="late", before=OTHER_NUMPY))
        with pytest.raises(ClusterError, match=r"process \d+ on .*: has numpy 1\.2\.3, and the process that starts the run"):
            list(cluster.executor.map(takes_a_moment, None, range(400)))


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="processes may not have file systems of their own here")
def test_a_worker_that_cannot_see_the_store_is_named_and_nothing_is_written(
    elsewhere: tuple[Path, str], tmp_path: Path, digits_folder: Path, compiled_lite0: Path
):
    folder, address = elsewhere
    source, store = images_in(tmp_path / "images", digits_folder, 70), empty_store(tmp_path / "store", compiled_lite0)
    spec = spec_for(source, store, cluster=address_spec(address).model_dump())
    scan(spec)
    empty = f'mount -t tmpfs none {store} && exec "$0" "$@"'
    with (
        worker(folder, address, name="blind", inside=["unshare", "--mount", "sh", "-c", empty]),
        Cluster(spec.cluster) as cluster,
    ):
        with pytest.raises(ClusterError, match=r"1 of 2 workers cannot") as refused:
            extract(spec, cluster)
        assert "There is no feature set at" in str(refused.value)
        assert "of the compiled backbone in" in str(refused.value)
        assert list((feature_set_in(store) / "commits").glob("*")) == []
    with Cluster(spec.cluster) as cluster:
        receipt = extract(spec, cluster)
    assert (receipt.counts.ok, receipt.extracted) == (70, 70)
