from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.finetuning.small import network_file, scanned
from trunkline.specs import RunSpec


@pytest.fixture(scope="session")
def small_network(tmp_path_factory: pytest.TempPathFactory, tensorflow: ModuleType) -> Path:  # noqa: ARG001
    """A small Keras network of a user's own."""
    return network_file(tmp_path_factory.mktemp("small"))


@pytest.fixture
def small_spec(tmp_path: Path, digits_folder: Path, small_network: Path) -> RunSpec:
    """A store of its own with 100 scanned digits."""
    return scanned(tmp_path, digits_folder, small_network)
