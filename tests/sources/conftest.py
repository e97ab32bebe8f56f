"""A real S3 endpoint: moto's server as a process of its own."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import urllib.request
import uuid
from collections.abc import Callable, Iterator

import pytest

from trunkline.locations import Location, filesystem

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="package")
def s3_endpoint() -> Iterator[str]:
    """The endpoint's URL, with its environment set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shutil.which("moto_server") or os.path.join(os.path.dirname(sys.executable), "moto_server")  # noqa: PTH118, PTH120
    server = subprocess.Popen(
        [command, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    before = {name: os.environ.get(name) for name in [*ENVIRONMENT, "AWS_ENDPOINT_URL"]}
    os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=url)
    try:
        _wait_for(server, port)
        filesystem.cache_clear()
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)
        filesystem.cache_clear()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        assert server.poll() is None, "moto_server ended"
        with socket.socket() as trial:
            trial.settimeout(0.1)
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            server.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("moto_server does not answer")


@pytest.fixture
def bucket(s3_endpoint: str) -> Location:  # noqa: ARG001
    """A new, empty bucket."""
    location = Location.of(f"s3://test-{uuid.uuid4().hex}")
    filesystem("s3").call_s3("create_bucket", Bucket=location.name)
    return location


@pytest.fixture
def requests(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: ARG001
    """The S3 calls made from here on, by their names."""
    made: list[str] = []
    remote = filesystem("s3")
    call, call_from_outside = remote._call_s3, remote.call_s3

    async def counted(method: str, *words: object, **said: object) -> object:
        made.append(method)
        return await call(method, *words, **said)

    def also_counted(method: str, *words: object, **said: object) -> object:
        made.append(method)
        return call_from_outside(method, *words, **said)

    monkeypatch.setattr(remote, "_call_s3", counted)
    monkeypatch.setattr(remote, "call_s3", also_counted)
    return made


@pytest.fixture
def no_permission(s3_endpoint: str, bucket: Location) -> Iterator[None]:  # noqa: ARG001
    """Every call is refused: moto checks signatures, and ours is of nobody."""

    def allow(calls: str) -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{s3_endpoint}/moto-api/reset-auth", calls.encode(), headers, method="POST")
        urllib.request.urlopen(request).close()

    allow("0")
    yield
    allow("inf")


@pytest.fixture
def make_tar() -> Callable[..., bytes]:
    """A tar of files, name → bytes; `format_` is one of tarfile's."""

    def make(files: dict[str, bytes], format_: int = tarfile.GNU_FORMAT) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format_) as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()

    return make
