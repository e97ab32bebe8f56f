"""Plan: what it counts is what then happens, and nothing is written into the store."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from tests.stores import extracted, feature_set_in, images_in, objects
from trunkline import projection
from trunkline.clusters import Cluster
from trunkline.errors import DataError, SourceError, StoreError
from trunkline.locations import Location
from trunkline.specs import ClusterSpec, RunSpec
from trunkline.stages import plan as planning
from trunkline.stages.extract import extract
from trunkline.stages.plan import Plan
from trunkline.stages.scan import scan


def plan(spec: RunSpec, sample: int = 64) -> Plan:
    with Cluster(spec.cluster) as cluster:
        return planning.plan(spec, cluster, sample)


def counts(planned: Plan) -> tuple[int, int, int, int]:
    found = planned.images
    return found.new, found.changed, found.removed, found.unchanged


def with_(spec: RunSpec, **storage: object) -> RunSpec:
    return spec.model_copy(update={"storage": spec.storage.model_copy(update=storage)})


def test_a_first_run(spec: RunSpec, images: Path):
    before = objects(Path(spec.store))
    planned = plan(spec)
    assert objects(Path(spec.store)) == before
    assert counts(planned) == (80, 0, 0, 0)
    assert planned.images.bytes == sum(file.stat().st_size for file in images.glob("*/*.png"))
    assert planned.output is not None
    assert planned.time is not None
    assert planned.memory is not None
    assert planned.time.compile == 0.0  # it lies in the store
    assert (planned.sampled, planned.bad) == (64, {})
    assert planned.headline.startswith("80 images to do: about ")
    assert " on 1 worker, " in planned.headline
    parts = planned.time
    assert parts.seconds == pytest.approx(parts.scan + parts.compile + parts.start + parts.extract)
    assert parts.parts.keys() == {"read", "decode", "forward", "write"}
    assert min(parts.parts.values()) > 0


@pytest.mark.parametrize("format_", ["zarr", "hdf5"])
def test_what_it_says_of_the_output_is_what_then_lies_there(spec: RunSpec, format_: str):
    spec = with_(spec, format=format_)
    output = plan(spec).output
    assert output is not None
    assert output.stored_bytes is not None
    extracted(spec)
    features = feature_set_in(Path(spec.store))
    made = [
        file
        for file in features.rglob("*")
        if file.is_file() and file.relative_to(features).parts[0] in ("commits", "moments", "parts", "features.zarr")
    ]
    arrays = [file for file in made if file.name != "zarr.json"]
    assert (output.rows, output.shards, output.objects) == (80, 2, len(arrays))
    assert output.stored_bytes == pytest.approx(sum(file.stat().st_size for file in arrays), rel=0.1)
    assert output.bytes == 80 * 1280 * 4


def test_nothing_to_do_starts_nothing(finished: RunSpec):
    before = objects(Path(finished.store))
    with Cluster(finished.cluster) as cluster:
        planned = planning.plan(finished, cluster)
        assert cluster._executor is None
    assert objects(Path(finished.store)) == before
    assert planned.headline == "Nothing to do: all 160 images are extracted."
    assert (planned.output, planned.engine) == (None, None)
    assert planned.time is not None
    assert planned.time.seconds == planned.time.scan


def test_it_counts_as_a_scan_does_and_writes_nothing(spec: RunSpec, images: Path, digits_folder: Path):
    extracted(spec)
    files = sorted(images.glob("*/*.png"))
    os.utime(files[0], ns=(1, 1))
    files[1].unlink()
    images_in(images, digits_folder, 3, first=80)
    before = objects(Path(spec.store))
    planned = plan(spec)
    assert objects(Path(spec.store)) == before
    assert planned.output is not None
    assert (counts(planned), planned.images.pending, planned.images.to_do) == ((3, 1, 1, 78), 0, 4)
    assert (planned.output.rows, planned.output.shards) == (4, 1)  # a batch of its own
    receipt = scan(spec)
    assert counts(planned) == (receipt.added, receipt.changed, receipt.removed, receipt.unchanged)
    with Cluster(spec.cluster) as cluster:
        assert extract(spec, cluster).extracted == planned.images.to_do


def test_rows_without_a_commit_record_are_pending(finished: RunSpec):
    (feature_set_in(Path(finished.store)) / "commits" / "000000000064.parquet").unlink()
    planned = plan(finished)
    assert counts(planned) == (0, 0, 0, 160)
    assert (planned.images.pending, planned.images.to_do) == (64, 64)
    assert planned.output is not None
    assert (planned.output.rows, planned.output.shards) == (64, 1)


def test_what_was_only_scanned_is_pending(spec: RunSpec, images: Path):
    scan(spec)
    next(images.glob("*/*.png")).unlink()
    planned = plan(spec)
    assert (counts(planned), planned.images.pending, planned.images.to_do) == ((0, 0, 1, 79), 79, 79)


def test_images_that_cannot_be_read_are_counted(spec: RunSpec, images: Path):
    for number in range(8):
        (images / "0" / f"broken{number}.png").write_bytes(b"")
    planned = plan(spec, sample=88)
    assert planned.bad == {"empty": 8}
    assert any("8 of 88 images of the sample cannot be read: a run might stop (--max-bad)" in note for note in planned.notes)
    assert planned.output is not None
    assert planned.output.ratio is not None


def test_where_no_image_can_be_read_compression_is_not_known(spec: RunSpec, images: Path):
    for file in images.glob("*/*.png"):
        file.write_bytes(b"")
    planned = plan(spec)
    assert planned.bad == {"empty": 64}
    assert planned.output is not None
    assert (planned.output.ratio, planned.output.stored_bytes) == (None, None)


def test_images_in_more_bytes_than_memory_holds_are_read_from_the_disk(spec: RunSpec, images: Path):
    with (images / "0" / "huge.png").open("wb") as file:
        file.truncate(2**43)  # sparse
    planned = plan(spec, sample=81)
    assert any("dropped from the system's cache and read from the disk" in note for note in planned.notes)
    assert planned.bad == {"too-large": 1}


def test_a_remote_source_is_read_in_every_pass(spec: RunSpec, images: Path):
    remote = fsspec.filesystem("memory")
    for file in images.glob("*/*.png"):
        remote.pipe_file(f"/planned/{file.relative_to(images)}", file.read_bytes())
    try:
        planned = plan(spec.model_copy(update={"source": "memory://planned", "dataset": "far"}))
    finally:
        remote.rm("/planned", recursive=True)
    assert counts(planned) == (80, 0, 0, 0)
    assert any("Every pass read its images from memory:// anew" in note for note in planned.notes)


def test_a_mass_removal_is_foretold(spec: RunSpec, images: Path):
    scan(spec)
    for file in sorted(images.glob("*/*.png"))[:9]:
        file.unlink()
    assert "A run would stop: 9 of 80 images are gone, more than 10%; --max-removed 1 allows it." in plan(spec).notes


def test_an_empty_source(spec: RunSpec, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"holds no images, so there is nothing to plan"):
        plan(spec.model_copy(update={"source": str(tmp_path / "empty")}))


def test_what_a_run_refuses_is_refused(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scan(spec)
    (tmp_path / "other").mkdir()
    with pytest.raises(SourceError, match=r"The dataset 'digits' belongs to .*, not to "):
        plan(spec.model_copy(update={"source": str(tmp_path / "other")}))
    with pytest.raises(StoreError, match=r"is not a feature store and not empty"):
        plan(spec.model_copy(update={"store": spec.source}))
    with pytest.raises(StoreError, match=r"memory:// lives in one process"):
        plan(spec.model_copy(update={"store": "memory://planned", "cluster": ClusterSpec(kind="local")}))
    with pytest.raises(StoreError, match=r"HDF5 cannot be written to memory://"):
        plan(with_(spec, format="hdf5").model_copy(update={"store": "memory://planned"}))
    monkeypatch.setattr(Location, "free", lambda _: 1000)
    with pytest.raises(
        StoreError, match=r"80 rows of 1,280 features: 400\.0 KiB before compression, 1000 B free\. That does not fit"
    ):
        plan(spec)
    planned = plan(with_(spec, ignore_free_space=True))
    assert planned.free == 1000
    assert any("more than the 1000 B that are free" in note for note in planned.notes)


def test_a_run_starts_without_room_where_that_is_to_be_ignored(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Location, "free", lambda _: 1000)
    with pytest.raises(StoreError, match=r"That does not fit onto the disk"):
        extracted(spec)
    assert extracted(with_(spec, ignore_free_space=True)).extracted == 80


def test_another_format_than_the_feature_sets_is_refused(finished: RunSpec):
    (feature_set_in(Path(finished.store)) / "commits" / "000000000064.parquet").unlink()
    with pytest.raises(StoreError, match=r"is stored as zarr; the format is fixed .* Use --format zarr"):
        plan(with_(finished, format="hdf5"))


def test_too_little_memory_is_refused_by_plan_and_by_extract(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(projection, "available_memory", lambda: 2**20)
    for stage in (plan, extracted):
        with pytest.raises(
            DataError, match=r"1 workers? would hold .* and 1\.0 MiB of memory are available: the system would kill"
        ):
            stage(spec)
    assert list(Path(spec.store).glob("features/*/*")) == []


def test_memory_that_the_sample_shows_to_be_too_little_is_refused(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planning, "available_memory", lambda: 2**20)
    with pytest.raises(DataError, match=r"images being decoded, .*, and 1\.0 MiB of memory are available"):
        plan(spec)


@pytest.mark.slow
def test_two_workers_without_a_store(spec: RunSpec, tmp_path: Path):
    """Nothing is there yet: the backbone is compiled, two processes are measured, and nothing is left."""
    store = tmp_path / "nothing" / "here"
    planned = plan(
        spec.model_copy(
            update={
                "store": str(store),
                "cluster": ClusterSpec(kind="local", workers=2),
                "backbone": "lenet-5",
                "weights": "random",
            }
        )
    )
    assert not store.parent.exists()
    assert planned.engine is not None
    assert planned.engine["workers"] == 2
    assert planned.time is not None
    assert planned.time.compile > 0
    assert planned.memory is not None
    assert planned.memory.measured is not None
    assert planned.memory.all_workers == 2 * planned.memory.worker


@pytest.mark.slow
def test_workers_at_an_address_are_not_measured(spec: RunSpec):
    with Cluster(ClusterSpec(kind="local", workers=1)) as there:
        address = there.executor.client.scheduler.address  # type: ignore[attr-defined]
        planned = plan(spec.model_copy(update={"cluster": ClusterSpec(kind="address", address=address)}))
    assert planned.headline.endswith("how long it takes was not measured.")
    assert planned.output is not None
    assert planned.output.shards == 2
    assert (planned.time, planned.memory) == (None, None)
    assert "Workers at an address cannot see this machine's temporary folder" in planned.notes[0]
