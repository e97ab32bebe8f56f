"""A real S3 endpoint for tests: moto's server as a process of its own, or the one that the environment names.

With TRUNKLINE_TEST_S3_ENDPOINT and the usual AWS_ credentials the same tests run against that endpoint, in buckets of their own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import KINDS, FaultyEndpoint
from trunkline.locations import Location, filesystem

ENDPOINT = os.environ.get("TRUNKLINE_TEST_S3_ENDPOINT")
ACCESS_KEY, SECRET = "AKIARECOGNISABLE", "s3cr3t-recognisable-in-any-file"
PATIENCE_SECONDS = 60


@contextmanager
def served() -> Iterator[str]:
    """The address of a real endpoint."""
    if ENDPOINT:
        yield ENDPOINT
        return
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_it_answers(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a real endpoint."""
    with served() as endpoint:
        yield endpoint


def only(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this endpoint the only one there is, by the environment."""
    if not ENDPOINT:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint, and an environment in which it is the only one there is."""
    only(s3_endpoint, monkeypatch)
    return s3_endpoint


@pytest.fixture
def bucket(s3: str) -> Iterator[Location]:  # noqa: ARG001
    """A fresh, empty bucket."""
    name = f"trunkline-{uuid.uuid4().hex}"
    files = filesystem("s3")
    files.call_s3("create_bucket", Bucket=name)
    yield Location.of(f"s3://{name}")
    if ENDPOINT and files.exists(name):
        files.rm(name, recursive=True)


@pytest.fixture(scope="session")
def s3_faulty_endpoint(s3_endpoint: str) -> Iterator[FaultyEndpoint]:
    """One for all tests, as connecting to another takes a second."""
    with FaultyEndpoint(s3_endpoint) as endpoint:
        yield endpoint


@pytest.fixture
def faulty(
    s3: str,  # noqa: ARG001
    no_pauses: None,  # noqa: ARG001
    s3_faulty_endpoint: FaultyEndpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., FaultyEndpoint]]:
    """Puts a faulty endpoint before the real one, for all that the test does from then on: `faulty(rate=0.1, seed=3)`."""

    def start(rate: float = 0.0, kinds: Sequence[str] = KINDS, seed: int = 0, conditions: bool = True) -> FaultyEndpoint:
        s3_faulty_endpoint.begin(rate, kinds, seed, conditions)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_faulty_endpoint.url)
        return s3_faulty_endpoint

    yield start
    s3_faulty_endpoint.begin()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are tried again as often as ever, and sooner."""
    from botocore.retries.standard import ExponentialBackoff

    from trunkline import s3

    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.01)
    monkeypatch.setattr(s3, "FIRST_PAUSE_SECONDS", 0.001)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def upload(folder: Path, to: Location) -> Location:
    """Copy a local folder's files below a location."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            (to / file.relative_to(folder).as_posix()).write(file.read_bytes())
    return to


def objects_in(place: Location) -> dict[str, bytes]:
    """Every object below a location: key below it → content."""
    files = filesystem("s3")
    start = len(place.uri.removeprefix("s3://")) + 1
    return {name[start:]: files.cat_file(name) for name in files.find(place.uri)}


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "moto's server ended"
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.05)
