"""The nightly batches of `nights.py`, small: each night extracts exactly the difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import StoreAt
from tests.end_to_end.nights import table, two_nights
from tests.faults import FaultyEndpoint
from trunkline.locations import Location


@pytest.mark.slow
def test_two_nights(faulty: Callable[..., FaultyEndpoint], bucket: Location, digits_folder: Path, store_at: StoreAt):
    endpoint = faulty()
    store_at(bucket / "store")
    photos = sorted(digits_folder.glob("*/*.png"))[:100]
    nights = two_nights(endpoint, bucket, photos, ["--dataset", "photos", "--cluster", "inline"])
    assert [night.extracted["extracted"] for night in nights] == [90, 6, 6, 0]
    assert [night.images_read for night in nights] == [90, 6, 6, 0]
    assert "| night 2 | 2 | 2 | 2 | 2 |" in table(nights)
