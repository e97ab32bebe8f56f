"""What an extraction will write, and when it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trunkline import projection
from trunkline.backbones.compiled import Compiled
from trunkline.errors import DataError, StoreError
from trunkline.locations import Location
from trunkline.projection import PROCESS_BYTES, Projection, WorkerMemory
from trunkline.store.layout import ArrayLayout

VGG16 = ArrayLayout("zarr", 64, {"block5_pool": 25_088})


def test_it_says_what_it_will_cost(tmp_path):
    found = Projection.of(VGG16, 1_000_000, Location.of(tmp_path))
    assert (found.features, found.row_bytes) == (25_088, 100_352)
    assert found.free == pytest.approx(Location.of(tmp_path).free(), rel=0.2)
    known = replace(found, free=2**40)
    assert str(known) == "1,000,000 rows of 25,088 features: 93.5 GiB before compression, 1.0 TiB free"
    assert str(replace(found, free=None)) == "1,000,000 rows of 25,088 features: 93.5 GiB before compression"
    known.refuse_what_does_not_fit()


def test_what_does_not_fit_onto_the_disk_is_refused(tmp_path):
    found = replace(Projection.of(VGG16, 1_000_000, Location.of(tmp_path / "not" / "yet")), free=2**30)
    with pytest.raises(StoreError, match=r"93\.5 GiB before compression, 1\.0 GiB free\. That does not fit .* Pool the maps"):
        found.refuse_what_does_not_fit()


def test_a_disk_that_is_too_small_before_compression_can_be_tried(tmp_path):
    found = replace(Projection.of(VGG16, 1_000_000, Location.of(tmp_path)), free=2**30)
    with pytest.raises(StoreError, match=r"compress well, --ignore-free-space starts all the same"):
        found.refuse_what_does_not_fit()
    found.refuse_what_does_not_fit(ignore_free_space=True)


def test_in_a_bucket_nothing_is_known_of_room():
    found = Projection.of(VGG16, 10**9, Location.of("memory://bucket/store"))
    assert found.free is None
    found.refuse_what_does_not_fit()


def test_a_row_that_no_worker_could_hold_a_shard_of_is_refused(tmp_path):
    wide = replace(VGG16, dims={"block1_conv1": 224 * 224 * 64})
    with pytest.raises(
        StoreError,
        match=r"3,211,264 features \(12\.2 MiB\), so the smallest shard, 64 rows, 784\.0 MiB; workers hold at most 512\.0 MiB",
    ):
        Projection.of(wide, 1, Location.of(tmp_path)).refuse_what_does_not_fit()


MIB = 2**20


@pytest.fixture
def backbone(tmp_path) -> Compiled:
    """Of 4 MiB of files; 64 of its images are 9.2 MiB."""
    place = tmp_path / "backbone"
    (place / "files").mkdir(parents=True)
    (place / "files" / "model.bin").write_bytes(bytes(4 * MIB))
    return Compiled(Location.of(place), "files", 224, "uint8", 2, "f32", {"block5_pool": (25_088,)}, 10**9, {})


def test_a_workers_memory_has_its_parts(backbone: Compiled):
    shard = 64 * 25_088 * 4
    assumed = WorkerMemory.of(VGG16, backbone)
    assert assumed == WorkerMemory(PROCESS_BYTES + 8 * MIB, 2 * 7 * shard, 2 * 64 * MIB)
    known = WorkerMemory.of(VGG16, backbone, at_once=1, process=500 * MIB, ahead=64, decoding=10 * MIB)
    assert known == WorkerMemory(500 * MIB, 7 * shard, 64 * 224 * 224 * 3, 10 * MIB)
    assert known.bytes == sum(vars(known).values())
    assert str(known) == (
        "about 626.1 MiB a worker (500.0 MiB the process with its backbone, 42.9 MiB features being made, 9.2 MiB images prepared "
        "ahead, 10.0 MiB images being decoded, 64.0 MiB else)"
    )


def test_two_batches_are_prepared_ahead_at_least(backbone: Compiled):
    wide = replace(backbone, size=4096, batch=8)
    assert WorkerMemory.of(VGG16, wide).ahead == 2 * 16 * 4096 * 4096 * 3


def test_workers_that_need_more_memory_than_there_is_are_refused():
    worker = WorkerMemory(300 * MIB, 100 * MIB, 100 * MIB, kept=0)
    worker.refuse_what_does_not_fit(4, available=2000 * MIB)
    with pytest.raises(
        DataError,
        match=r"5 workers would hold 2\.4 GiB, about 500\.0 MiB a worker \(.*\), and 2\.0 GiB of memory are available: .* Use --workers 4",
    ):
        worker.refuse_what_does_not_fit(5, available=2000 * MIB)
    with pytest.raises(DataError, match=r"Use a machine with more memory, a smaller storage\.rows_per_shard or --batch"):
        worker.refuse_what_does_not_fit(1, available=499 * MIB)


def test_where_the_machine_does_not_tell_its_memory_nothing_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(projection, "available_memory", lambda: None)
    WorkerMemory(2**60, 0, 0).refuse_what_does_not_fit(100)


def test_several_recipes_are_judged_together(tmp_path):
    place = Location.of(tmp_path)
    each = [Projection(place, 1000, 10, 40, 0), Projection(place, 500, 30, 60, 0)]
    both = Projection.together(each, place)
    assert (both.rows, both.features, both.row_bytes, both.bytes) == (1000, 40, 70, 70_000)
    assert Projection.together([Projection(place, 0, 10, 40, 0)], place).bytes == 0
    one, other = (
        WorkerMemory(PROCESS_BYTES + 8 * MIB, 100, 200, 5, kept=7),
        WorkerMemory(PROCESS_BYTES + 4 * MIB, 10, 20, 50, kept=7),
    )
    assert WorkerMemory.together([one, other]) == WorkerMemory(PROCESS_BYTES + 12 * MIB, 110, 220, 50, kept=7)
    assert WorkerMemory.together([one]) == one
