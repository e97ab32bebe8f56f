"""Tars, and a real S3 endpoint that counts its calls or refuses them."""

from __future__ import annotations

import io
import tarfile
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from trunkline.locations import Location, filesystem


@pytest.fixture
def requests(s3: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: ARG001
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
def no_permission(s3: str, bucket: Location) -> Iterator[None]:  # noqa: ARG001
    """Every call is refused: moto checks signatures, and ours is of nobody."""

    def allow(calls: str) -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{s3}/moto-api/reset-auth", calls.encode(), headers, method="POST")
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
