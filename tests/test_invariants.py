"""The invariants of the design, by their numbers, where no other test file is about them.

5 (one writer) is also in `store/test_lease.py`, 4 (truth in the store) in `test_planned_failures.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.stores import (
    ROWS,
    committed_objects,
    copy_of,
    empty_store,
    extracted,
    feature_set_in,
    images_in,
    objects,
    spec_for,
)
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import BackboneError, LeaseHeld, LeaseLost, StoreError, TooManyBadImages
from trunkline.locations import Location
from trunkline.specs import ClusterSpec, RunSpec
from trunkline.stages import extract as extraction
from trunkline.stages import up_to_date
from trunkline.stages.extract import extract
from trunkline.stages.fit import fit
from trunkline.stages.scan import scan
from trunkline.stages.select import select
from trunkline.store.commits import Commits
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore
from trunkline.store.lease import Lease


@pytest.fixture
def images(tmp_path: Path, digits_folder: Path) -> Path:
    """130 images: two shards and two rows."""
    return images_in(tmp_path / "images", digits_folder, 130)


@pytest.fixture
def store(tmp_path: Path, compiled_lite0: Path) -> Path:
    return empty_store(tmp_path / "store", compiled_lite0)


def by_id(store: Path) -> dict[str, np.ndarray]:
    """Id → feature, of the live rows."""
    features = open_features(store)
    index = features.index()
    rows = features.rows()
    ids = index["id"].take(np.searchsorted(index["row"].to_numpy(), rows)).to_pylist()
    return dict(zip(ids, features.read(rows), strict=True))


def spoil(images: Path, count: int) -> list[str]:
    """Cut the first files short; their ids."""
    files = sorted(images.glob("*/*.png"))[:count]
    for file in files:
        file.write_bytes(file.read_bytes()[:60])
    return [str(file.relative_to(images)) for file in files]


def commits_of(store: Path) -> Commits:
    return FeatureSet.open(Location.of(feature_set_in(store))).commits


def test_1_row_i_is_image_i(finished_store: Path, tmp_path: Path, compiled_lite0: Path):
    """A feature in the middle of a shard is what its image gives when it is all there is."""
    source = finished_store.parent / "images"
    together = by_id(finished_store)
    ids = sorted(together)
    assert len(ids) == 160
    for number in (0, 37, 64, 159):
        alone = tmp_path / f"alone-{number}"
        (alone / ids[number]).parent.mkdir(parents=True)
        shutil.copy2(source / ids[number], alone / ids[number])
        store = empty_store(tmp_path / f"store-{number}", compiled_lite0)
        extracted(spec_for(alone, store))
        np.testing.assert_array_equal(by_id(store)[ids[number]], together[ids[number]])
    assert len({feature.tobytes() for feature in together.values()}) > 150  # they differ, or this would show nothing


def test_1_rows_are_never_renumbered(images: Path, store: Path):
    spec = spec_for(images, store, max_removed_fraction=1.0)
    extracted(spec)
    before = open_features(store).index().select(["row", "id", "sha256"]).to_pylist()
    files = sorted(images.glob("*/*.png"))
    shutil.copy(files[3], files[5])  # changed
    files[7].unlink()
    files[9].rename(files[9].with_name("renamed.png"))
    (images / "0" / "0000-first-in-order.png").write_bytes(files[20].read_bytes())
    extracted(spec)
    after = open_features(store).index().to_pylist()
    assert [{name: row[name] for name in ("row", "id", "sha256")} for row in after[: len(before)]] == before
    removed = [row["id"] for row in after if row["status"] == "removed"]
    assert sorted(removed) == sorted(str(files[number].relative_to(images)) for number in (5, 7, 9))
    new = after[len(before) :]
    assert [row["row"] for row in new] == [1024, 1025, 1026]  # a batch starts on a block boundary
    assert {row["status"] for row in new} == {"ok"}


def test_1_a_bad_image_costs_only_its_own_row(images: Path, store: Path, tmp_path: Path, compiled_lite0: Path):
    good = empty_store(tmp_path / "good", compiled_lite0)
    extracted(spec_for(images, good))
    expected = by_id(good)
    bad = spoil(images, 3)
    receipt = extracted(spec_for(images, store))
    assert (receipt.counts.ok, receipt.counts.quarantined) == (127, 3)
    seen = by_id(store)
    assert set(seen) == set(expected) - set(bad)
    for image, feature in seen.items():
        np.testing.assert_array_equal(feature, expected[image])
    index = {row["id"]: row for row in open_features(store).index().to_pylist()}
    assert {index[image]["status"] for image in bad} == {"quarantined"}
    assert all(index[image]["reason"] for image in bad)
    arrays = open_features(store).feature_set.arrays
    assert all(np.isnan(arrays.read("avg_pool", index[image]["row"], index[image]["row"] + 1)).all() for image in bad)


def test_2_every_row_is_accounted_for(images: Path, store: Path):
    spoil(images, 4)
    spec = spec_for(images, store, max_removed_fraction=1.0)
    extracted(spec)
    sorted(images.glob("*/*.png"))[70].unlink()
    (images / "9" / "new.png").write_bytes((images / "9" / "0009.png").read_bytes())
    extracted(spec)
    (feature_set_in(store) / "commits" / f"{ROWS:012d}.parquet").unlink()
    counts = extraction.survey(spec).counts
    assert counts.removed == 1
    assert counts.void == 1024 - 130
    assert counts.quarantined == 4
    assert counts.pending == ROWS - 1  # the removed row of that shard is not waited for
    assert counts.ok + counts.quarantined + counts.pending + counts.removed + counts.void == counts.rows == 1025


def test_2_too_many_bad_images_stop_the_run_and_what_was_committed_stays(images: Path, store: Path):
    spoil(images, 20)
    spec = spec_for(images, store)
    with pytest.raises(TooManyBadImages, match=r"20 of 128 images could not be read \(20 .*\), more than the allowed 5%"):
        extracted(spec)
    kept = commits_of(store).done()
    assert kept == {f"{0:012d}", f"{ROWS:012d}"}  # judged at 100 rows, not before
    for _ in range(2):  # the rest is extracted, and judged with what was there, also when there is nothing left to do
        with pytest.raises(TooManyBadImages, match="20 of 130 images could not be read"):
            extracted(spec)
        assert commits_of(store).done() == kept | {f"{2 * ROWS:012d}"}
    receipt = extracted(spec_for(images, store, max_bad_fraction=0.5))
    assert (receipt.extracted, receipt.reused, receipt.counts.quarantined) == (0, 130, 20)


def test_2_few_images_are_not_judged_by_their_share(tmp_path: Path, store: Path, digits_folder: Path):
    source = images_in(tmp_path / "few", digits_folder, 20)
    spoil(source, 15)
    assert extracted(spec_for(source, store)).counts.quarantined == 15


@pytest.mark.parametrize("format_", ["zarr", "hdf5"])
def test_3_objects_are_write_once(images: Path, store: Path, digits_folder: Path, format_: str):
    spec = spec_for(images, store, format=format_, max_removed_fraction=1.0)
    extracted(spec)
    select(spec)
    features, before = feature_set_in(store), committed_objects(feature_set_in(store))
    datasets = objects(store / "datasets")
    assert sum(name.startswith("commits/") for name in before) == 3
    images_in(images, digits_folder, 70, first=130)
    sorted(images.glob("*/*.png"))[0].unlink()
    assert extracted(spec).extracted == 70
    select(spec, refit=True)
    after = committed_objects(features)
    assert {name: after.get(name) for name in before} == before
    assert sum(name.startswith("commits/") for name in after) == 5
    assert {name: objects(store / "datasets").get(name) for name in datasets} == datasets


def test_4_what_is_not_committed_is_not_visible(finished_store: Path, tmp_path: Path):
    store = copy_of(finished_store, tmp_path / "store")
    everything = by_id(store)
    (feature_set_in(store) / "commits" / f"{ROWS:012d}.parquet").unlink()
    features = open_features(store)
    assert features.rows().tolist() == [*range(ROWS), *range(2 * ROWS, 160)]
    statuses = features.index()["status"].to_pylist()
    assert statuses[ROWS : 2 * ROWS] == ["pending"] * ROWS
    receipt = extracted(spec_for(finished_store.parent / "images", store))
    assert (receipt.extracted, receipt.reused) == (ROWS, 160 - ROWS)
    again = by_id(store)
    assert all(np.array_equal(again[image], everything[image]) for image in everything)


def test_5_commit_records_carry_the_number_of_their_lease(images: Path, store: Path, digits_folder: Path):
    spec = spec_for(images, store)
    extracted(spec)
    images_in(images, digits_folder, 10, first=130)
    extracted(spec)
    commits = commits_of(store)
    assert [commits.read(name).lease for name in sorted(commits.done())] == [1, 1, 1, 2]


def test_5_a_run_that_finds_everything_done_takes_no_lease(finished_store: Path):
    before = objects(feature_set_in(finished_store) / "leases")
    assert extracted(spec_for(finished_store.parent / "images", finished_store)).extracted == 0
    assert objects(feature_set_in(finished_store) / "leases") == before


def test_5_a_second_run_is_refused(finished_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = copy_of(finished_store, tmp_path / "store")
    (feature_set_in(store) / "commits" / f"{ROWS:012d}.parquet").unlink()
    leases = Location.of(feature_set_in(store) / "leases")
    holder = Lease(leases, 7, "elsewhere", 1, "boot:1", "token")
    holder.location.write(holder.to_bytes())
    impatient = up_to_date.hold
    monkeypatch.setattr(up_to_date, "hold", lambda folder, waiting: impatient(folder, wait_seconds=0.2, waiting=waiting))
    told = []
    spec = spec_for(finished_store.parent / "images", store)
    with Cluster(spec.cluster) as cluster, pytest.raises(LeaseHeld, match=r"lease 7, process 1 on elsewhere"):
        extract(spec, cluster, told.append)
    assert [step.note for step in told if "lease" in step.note] == ["waiting for lease 7 of process 1 on elsewhere"]
    assert f"{ROWS:012d}" not in commits_of(store).done()


def test_5_a_run_that_was_taken_over_commits_nothing_more(images: Path, store: Path):
    """Another run takes the lease after the first shard was committed."""
    spec = spec_for(images, store)
    scan(spec)

    def take_over(step: object) -> None:
        if getattr(step, "stage", "") == "extract" and getattr(step, "done", 0):
            leases = Location.of(feature_set_in(store) / "leases")
            other = Lease(leases, 2, "elsewhere", 1, "boot:1", "token")
            other.location.write(other.to_bytes())

    with (
        Cluster(spec.cluster) as cluster,
        pytest.raises(LeaseLost, match=r"The run with lease 1 on .*; nothing more is written"),
    ):
        extract(spec, cluster, take_over)
    assert commits_of(store).done() == {f"{0:012d}"}


def test_5_two_runs_at_once_do_each_row_once(images: Path, store: Path):
    spec = spec_for(images, store)
    scan(spec)
    said = both_end(spec, "extract")
    assert sum(each["extracted"] for each in said) == 130
    assert all(each["counts"]["ok"] == 130 for each in said)


@pytest.mark.slow
@pytest.mark.parametrize("time", range(3))
def test_5_two_runs_at_once_from_nothing(images: Path, store: Path, time: int):  # noqa: ARG001
    """They race in every stage, and both end well."""
    said = both_end(spec_for(images, store), "run")
    assert sum(each["extracted"] for each in said) == 130
    assert all((each["rows"], each["ok"], each["pending"]) == (130, 130, 0) for each in said)
    assert said[0]["heads"] == said[1]["heads"]


def both_end(spec: RunSpec, command: str) -> list[dict]:
    """The summaries of two processes that are started at once."""
    folder = Path(spec.store).parent
    (folder / "spec.yaml").write_text(json.dumps(spec.model_dump(mode="json")))
    words = [sys.executable, "-c", "from trunkline.cli import main; main()", command, "--json", "spec.yaml"]
    pipe = subprocess.PIPE
    runs = [subprocess.Popen(words, cwd=folder, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    ended = [(run, *run.communicate(timeout=240)) for run in runs]
    for run, _, err in ended:
        assert run.returncode == 0, err
    return [json.loads(out.splitlines()[-1]) for _, out, _ in ended]


def test_6_serial_and_dask_give_the_same_bits(finished_store: Path, tmp_path: Path, compiled_lite0: Path):
    expected = feature_arrays(finished_store)
    records = record_digests(finished_store)
    for workers in (1, 2):
        store = empty_store(tmp_path / f"workers-{workers}", compiled_lite0)
        cluster = ClusterSpec(kind="local", workers=workers)
        spec = spec_for(finished_store.parent / "images", store, cluster=cluster.model_dump())
        assert extracted(spec).extracted == 160
        np.testing.assert_array_equal(feature_arrays(store), expected)
        assert record_digests(store) == records


def feature_arrays(store: Path) -> np.ndarray:
    return open_features(store).feature_set.arrays.read("avg_pool", 0, 160)


def record_digests(store: Path) -> list[dict[str, str]]:
    commits = commits_of(store)
    return [row for name in sorted(commits.done()) for row in commits.read(name).table.to_pylist()]


def test_6_zarr_and_hdf5_hold_the_same_bits(finished_store: Path, tmp_path: Path, compiled_lite0: Path):
    store = empty_store(tmp_path / "hdf5", compiled_lite0)
    extracted(spec_for(finished_store.parent / "images", store, format="hdf5"))
    np.testing.assert_array_equal(feature_arrays(store), feature_arrays(finished_store))


def test_6_each_commit_record_carries_the_environment(finished_store: Path):
    commits = commits_of(finished_store)
    environments = [commits.read(name).environment for name in commits.done()]
    assert {"runtime", "openvino", "precision", "numpy", "cpu_flags", "processor"} <= environments[0].keys()
    assert all(each == environments[0] for each in environments)


@pytest.mark.parametrize("preparation", [{"fit": "stretch"}, {"kernel": "area"}])
def test_7_another_preparation_is_another_feature_set(finished_store: Path, tmp_path: Path, preparation: dict[str, str]):
    store = copy_of(finished_store, tmp_path / "store")
    before = committed_objects(feature_set_in(store))
    receipt = extracted(spec_for(finished_store.parent / "images", store, preparation=preparation))
    assert receipt.extracted == 160
    sets = FeatureStore.open(Location.of(store)).feature_sets("digits")
    assert len(sets) == 2
    assert committed_objects(feature_set_in(finished_store)) == before
    assert len(list((store / "backbones").iterdir())) == 1  # the network is the same


def test_7_changing_heads_labels_or_splits_never_extracts(finished_store: Path, tmp_path: Path):
    store = copy_of(finished_store, tmp_path / "store")
    before = committed_objects(feature_set_in(store))
    before.pop("curves.json")  # of the heads that were fitted last
    source = finished_store.parent / "images"
    for changes in (
        {"heads": [{"kind": "forest", "trees": 3}]},
        {"labels": "none"},
        {"split": {"seed": 1, "test_fraction": 0.5}},
        {"select": {"relative_threshold": 0.5}},
        {"seed": 3},
    ):
        spec = spec_for(source, store, **changes)
        scan(spec)
        with Cluster(spec.cluster) as cluster:
            assert extract(spec, cluster).extracted == 0
            assert cluster._executor is None  # no worker was started either
        select(spec)
        fit(spec)
    after = committed_objects(feature_set_in(store))
    assert {name: after.get(name) for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} <= {"moments", "curves.json"}


def test_7_changing_an_image_extracts_only_that(images: Path, store: Path):
    spec = spec_for(images, store)
    extracted(spec)
    before = by_id(store)
    files = sorted(images.glob("*/*.png"))
    changed, other = (str(files[number].relative_to(images)) for number in (10, 100))
    shutil.copyfile(images / other, images / changed)
    receipt = extracted(spec)
    assert (receipt.extracted, receipt.reused, receipt.counts.ok) == (1, 129, 130)
    after = by_id(store)
    np.testing.assert_array_equal(after[changed], before[other])
    assert not np.array_equal(after[changed], before[changed])
    assert all(np.array_equal(after[image], before[image]) for image in before if image != changed)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"backbone": "efficientnet-lit0"}, BackboneError, "There is no backbone 'efficientnet-lit0'. Did you mean"),
        (
            {"storage": {"format": "zarr", "rows_per_shard": 128}},
            StoreError,
            "has 64 rows a shard, not 128; that is fixed when",
        ),
        ({"storage": {"format": "hdf5"}}, StoreError, "is stored as zarr; the format is fixed"),
    ],
)
def test_8_refused_before_the_first_image(finished_store: Path, tmp_path: Path, changes: dict, error: type, words: str):
    store = copy_of(finished_store, tmp_path / "store")
    (feature_set_in(store) / "commits" / f"{ROWS:012d}.parquet").unlink()
    before = objects(store / "features")
    with pytest.raises(error, match=words):
        extracted(spec_for(finished_store.parent / "images", store, **changes))
    assert objects(store / "features") == before  # no lease either


def test_8_memory_with_several_processes_is_refused(images: Path):
    spec = spec_for(images, Path("x")).model_copy(update={"store": "memory://several", "cluster": ClusterSpec(kind="local")})
    scan(spec)
    with Cluster(spec.cluster) as cluster, pytest.raises(StoreError, match=r"memory:// lives in one process.*--cluster inline"):
        extract(spec, cluster)
    assert FeatureStore.open(Location("memory://several")).feature_sets("digits") == []


def test_8_hdf5_on_an_object_store_is_refused(images: Path, compiled_lite0: Path):
    store = Location("memory://objects")
    FeatureStore.create(store)
    for file in (compiled_lite0 / "backbones").rglob("*.*"):
        (store / str(file.relative_to(compiled_lite0))).write(file.read_bytes())
    spec = spec_for(images, Path("x"), format="hdf5").model_copy(update={"store": store.uri})
    with pytest.raises(StoreError, match=r"HDF5 cannot be written to memory://"):
        extracted(spec)
    assert extracted(spec_for(images, Path("x")).model_copy(update={"store": store.uri})).extracted == 130
    assert len(open_features(store.uri).rows()) == 130


def test_8_a_recipe_opens_only_its_own_feature_set(finished_store: Path):
    place = Location.of(feature_set_in(finished_store))
    assert FeatureSet.open(place).recipe.digest() == place.name
