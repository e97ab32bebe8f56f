"""Commands in this process, and a store with the compiled backbone, locally or in a bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import cli as cli
from tests.end_to_end.kinds import Photo, photos_in
from tests.s3 import upload
from tests.stores import empty_store
from trunkline.locations import Location
from trunkline.store.feature_store import FeatureStore

StoreAt = Callable[[Location], Location]


@pytest.fixture(scope="session")
def photos(digits_folder: Path) -> list[Photo]:
    """70 digits: a whole shard and six rows."""
    return photos_in(digits_folder, 70)


@pytest.fixture
def store_at(compiled_lite0: Path) -> StoreAt:
    """Makes a store that holds nothing but the compiled backbone."""

    def make(place: Location) -> Location:
        if place.is_local:
            return Location.of(empty_store(place.path, compiled_lite0))
        FeatureStore.create(place)
        upload(compiled_lite0 / "backbones", place / "backbones")
        return place

    return make
