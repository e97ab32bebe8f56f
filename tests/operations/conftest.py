"""A stack with the deployments on it, and sources and stores of a test's own in its bucket."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.digits import write_digits
from tests.operations.server import Server
from tests.s3 import upload
from tests.stack import ROOT, Stack
from trunkline.locations import Location
from trunkline.reader import Features, open_features
from trunkline.store.feature_store import FeatureStore


@dataclass(frozen=True)
class Deployed:
    """A stack with the deployments on it."""

    stack: Stack
    server: Server

    def command(self, *words: str, **more: str) -> str:
        """A command of this environment and some more, which has to succeed; what it printed."""
        environment = {**self.stack.processes_environment, **more}
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass(frozen=True)
class Place:
    """A source of digits and a store beside it, on S3."""

    source: Location
    store: Location

    @property
    def spec(self) -> dict[str, str]:
        return {"source": self.source.uri, "store": self.store.uri}

    def features(self) -> Features:
        return open_features(self.store.uri)


@pytest.fixture(scope="session")
def deployed(stack: Stack) -> Deployed:
    """Deployed once for all tests of a session."""
    found = Deployed(stack, Server(stack.environment["PREFECT_API_URL"]))
    found.command(sys.executable, "-m", "infra.deploy", TRUNKLINE_SILENT_SECONDS="90")
    return found


@pytest.fixture
def in_stack(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """The same, and this process sees the stack's bucket."""
    for name, value in deployed.stack.environment.items():
        monkeypatch.setenv(name, value)
    return deployed


@pytest.fixture
def place(in_stack: Deployed, compiled_lite0: Path, digits_folder: Path) -> Place:  # noqa: ARG001
    """300 digits and a store in which the default backbone is compiled already."""
    root = Location.of(f"s3://trunkline/{uuid.uuid4().hex}")
    return Place(upload(digits_folder, root / "digits"), store_at(root / "store", compiled_lite0))


@pytest.fixture
def many(in_stack: Deployed, compiled_lite0: Path, tmp_path: Path) -> Place:  # noqa: ARG001
    """1,797 digits, for runs in the middle of which something happens."""
    root = Location.of(f"s3://trunkline/{uuid.uuid4().hex}")
    return Place(upload(write_digits(tmp_path / "digits", 1797), root / "digits"), store_at(root / "store", compiled_lite0))


def store_at(root: Location, compiled: Path) -> Location:
    """A store that holds a compiled backbone, so that no test has to wait for one."""
    FeatureStore.create(root)
    upload(compiled / "backbones", root / "backbones")
    return root


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
