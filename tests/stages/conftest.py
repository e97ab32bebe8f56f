"""Small stores to run single stages over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores import copy_of, empty_store, images_in, spec_for
from trunkline.specs import RunSpec


@pytest.fixture
def images(tmp_path: Path, digits_folder: Path) -> Path:
    """Eighty digits, to be changed at will."""
    return images_in(tmp_path / "images", digits_folder, 80)


@pytest.fixture
def spec(images: Path, tmp_path: Path, compiled_lite0: Path) -> RunSpec:
    """Over those, with a new store."""
    return spec_for(images, empty_store(tmp_path / "store", compiled_lite0))


@pytest.fixture
def finished(finished_store: Path, tmp_path: Path) -> RunSpec:
    """Over a copy of the store that a whole run made; its images are shared and stay as they are."""
    return spec_for(finished_store.parent / "images", copy_of(finished_store, tmp_path / "finished"))
