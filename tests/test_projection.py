"""What an extraction will write, and when it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trunkline.errors import StoreError
from trunkline.locations import Location
from trunkline.projection import Projection
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
