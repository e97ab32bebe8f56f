"""Which files a pattern takes, and which folders may hold them."""

from __future__ import annotations

import pytest

from trunkline.locations import Location
from trunkline.sources import IMAGE_SUFFIXES, GlobSource
from trunkline.sources.choice import Choice, parted

FILES = ["a.jpg", "b.png", "2026-01/a.jpg", "2026-01/x/y/b.jpg", "2026-02/c.JPG", "2025/a.jpg", "2026-01/.h/a.jpg", "[1].jpg"]


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("*.jpg", ["[1].jpg", "a.jpg"]),
        ("*", ["[1].jpg", "a.jpg", "b.png"]),
        ("**/*.jpg", ["2025/a.jpg", "2026-01/a.jpg", "2026-01/x/y/b.jpg", "[1].jpg", "a.jpg"]),
        ("**", ["2025/a.jpg", "2026-01/a.jpg", "2026-01/x/y/b.jpg", "2026-02/c.JPG", "[1].jpg", "a.jpg", "b.png"]),
        ("2026-*/*", ["2026-01/a.jpg", "2026-02/c.JPG"]),
        ("2026-*/**/*.jpg", ["2026-01/a.jpg", "2026-01/x/y/b.jpg"]),
        ("2026-0[2-9]/*", ["2026-02/c.JPG"]),
        ("*/x/**/b.*", ["2026-01/x/y/b.jpg"]),
        ("?.jpg", ["a.jpg"]),
        ("**/**/a.jpg", ["2025/a.jpg", "2026-01/a.jpg", "a.jpg"]),
        ("[[]1].jpg", ["[1].jpg"]),
        ("*.txt", []),
    ],
)
def test_a_pattern_takes_what_it_says(tmp_path, pattern, taken):
    for name in [*FILES, "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    source = GlobSource(Location.of(f"{tmp_path}/{pattern}"))
    found = list(source.listing())
    assert [image.id for image in found] == taken
    assert [source.read(image.id, image.version) for image in found] == [name.encode() for name in taken]
    assert source.uri_of("a.jpg") == f"{tmp_path}/a.jpg"


def test_folders_that_cannot_match_are_not_entered():
    choice = Choice(IMAGE_SUFFIXES, "2026-*/cat/**/*.jpg")
    entered = [
        folder for folder in ("2026-01", "2025", "2026-01/cat", "2026-01/dog", "2026-01/cat/x/y") if choice.enters(folder)
    ]
    assert entered == ["2026-01", "2026-01/cat", "2026-01/cat/x/y"]
    assert not Choice(IMAGE_SUFFIXES, "*.jpg").enters("a")
    assert choice.start == "2026-"


@pytest.mark.parametrize(
    ("uri", "folder", "pattern"),
    [
        ("s3://bucket/2026-*/**/*.jpg", "s3://bucket", "2026-*/**/*.jpg"),
        ("/data/photos/*.jpg", "/data/photos", "*.jpg"),
        ("/*.jpg", "/", "*.jpg"),
        ("s3://bucket/a/b[12]/x.jpg", "s3://bucket/a", "b[12]/x.jpg"),
    ],
)
def test_a_glob_has_a_folder_and_a_pattern(uri, folder, pattern):
    assert parted(Location(uri)) == (Location(folder), pattern)
