"""One object: looked at and read in the same words, and a disk that fails is told from an object that does."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

import pytest

from trunkline.errors import StorageUnreachable, UnreadableImage
from trunkline.locations import Location
from trunkline.sources.objects import Span, fetch, look


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    place = Location.of(tmp_path / "a.jpg" if request.param == "file" else f"memory://{uuid.uuid4().hex}/a.jpg")
    place.write(b"0123456789")
    return place


def test_a_look_and_a_read_say_the_same_version(place: Location):
    size, version = look(place)
    assert size == 10
    assert fetch(place) == (b"0123456789", version)
    assert fetch(place, Span(2, 3)) == (b"234", version)


def test_a_span_beyond_the_end_is_truncated(place: Location):
    with pytest.raises(UnreadableImage, match=r"truncated: a\.jpg ends before the image does"):
        fetch(place, Span(8, 3))


def test_what_is_not_there_is_missing(place: Location):
    place.remove()
    assert look(place) == (0, "missing")
    with pytest.raises(UnreadableImage, match="missing: not there any more"):
        fetch(place)


def test_a_file_of_its_own_fault_is_unreadable(tmp_path: Path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")
    assert look(Location.of(tmp_path / "a.jpg")) == (0, "unreadable")


def test_a_disk_that_fails_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    place = Location.of(tmp_path / "a.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stale)
        with pytest.raises(
            StorageUnreachable, match=r"Looking at .*a\.jpg failed \(Stale file handle\)\. Check the disk, then scan"
        ):
            look(place)
