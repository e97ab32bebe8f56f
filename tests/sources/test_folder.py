"""A folder: what is listed, what folders say, versions that change with the image, and why one cannot be read."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trunkline.errors import SourceError, StorageUnreachable, UnreadableImage
from trunkline.locations import Location, filesystem
from trunkline.sources import IMAGE_SUFFIXES, FolderSource, Layout, Listed, hashed_split, objects, top_folder, walking_disk
from trunkline.specs import SplitSpec


@pytest.fixture(params=["file", "memory"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FolderSource]:
    if request.param == "file":
        yield FolderSource(Location.of(tmp_path / "images"))
        return
    location = Location.of(f"memory://{uuid.uuid4().hex}/images")
    yield FolderSource(location)
    location.remove()


def put(source: FolderSource, *names: str) -> None:
    for name in names:
        (source.root / name).write(f"bytes of {name}".encode())


def ids(source: FolderSource) -> list[str]:
    return [image.id for image in source.listing()]


def reason_of(source: FolderSource, image: Listed) -> tuple[str, str]:
    with pytest.raises(UnreadableImage) as caught:
        source.read(image.id, image.version)
    return caught.value.reason, caught.value.detail


def test_images_at_any_depth_are_listed_in_order(source):
    put(source, "b.PNG", "a/2.jpg", "a/1.jpeg", "a/deep/er/3.tiff", "c.webp")
    assert sorted(ids(source)) == ["a/1.jpeg", "a/2.jpg", "a/deep/er/3.tiff", "b.PNG", "c.webp"]
    assert ids(source) == ids(source)


def test_hidden_files_and_other_suffixes_are_passed_over(source):
    put(source, "a.jpg", ".b.jpg", ".git/c.jpg", "d/.e/f.jpg", "notes.txt", "jpg", "g.jpg.part")
    assert ids(source) == ["a.jpg"]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_counts_in_either_case(tmp_path, suffix):
    source = FolderSource(Location.of(tmp_path))
    put(source, f"a{suffix}", f"b{suffix.upper()}")
    assert ids(source) == [f"a{suffix}", f"b{suffix.upper()}"]


@pytest.mark.parametrize(
    "name", ["ein bild.jpg", "größe/漢字.png", "line\nbreak.png", "a..b.jpg", "#1?.png", "%20.png", "[x]*.jpg"]
)
def test_odd_names_are_listed_and_read(source, name):
    put(source, name)
    [image] = source.listing()
    assert image.id == name
    assert source.read(image.id, image.version) == f"bytes of {name}".encode()


def test_a_slow_disk_is_looked_at_by_several_threads(tmp_path, monkeypatch):
    names = [f"{folder}/{number:02}.jpg" for folder in "ab" for number in range(20)]
    put(FolderSource(Location.of(tmp_path)), *names)
    quick = list(FolderSource(Location.of(tmp_path)).listing())
    monkeypatch.setattr(walking_disk, "SLOW_SECONDS", 0)
    monkeypatch.setattr(walking_disk, "STATS", 3)
    assert list(FolderSource(Location.of(tmp_path)).listing()) == quick
    assert [image.id for image in quick] == names


def test_a_remote_folder_that_goes_away_stops_the_scan(monkeypatch):
    source = FolderSource(Location.of(f"memory://{uuid.uuid4().hex}"))
    put(source, "a/1.jpg", "b/1.jpg")
    memory, listed = filesystem("memory"), filesystem("memory").ls

    def gone(path, **how):
        if path.endswith("/b"):
            raise FileNotFoundError(path)
        return listed(path, **how)

    monkeypatch.setattr(memory, "ls", gone)
    with pytest.raises(SourceError, match=r"Cannot list memory://.*/b \(it is not there\)\. Its images would be lost"):
        list(source.listing())


def test_a_listing_says_sizes(source):
    put(source, "a.jpg")
    assert [image.size for image in source.listing()] == [len(b"bytes of a.jpg")]


def test_a_name_that_is_not_text_can_be_stored_and_ends_as_missing(tmp_path):
    source = FolderSource(Location.of(tmp_path))
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    [image] = source.listing()
    assert image.id == "caf\\xe9.jpg"
    image.id.encode()  # it is text
    assert reason_of(source, image) == ("missing", "not there any more; scan again")


def test_an_image_is_read_while_it_is_the_one_the_scan_saw(source):
    put(source, "a.jpg")
    [image] = source.listing()
    assert source.read("a.jpg", image.version) == b"bytes of a.jpg"
    (source.root / "a.jpg").write(b"other, longer bytes")
    assert reason_of(source, image) == ("changed", "not the file the scan saw; scan again")
    [changed] = source.listing()
    assert source.read("a.jpg", changed.version) == b"other, longer bytes"


def test_a_change_of_time_alone_is_a_change(tmp_path):
    source = FolderSource(Location.of(tmp_path))
    put(source, "a.jpg")
    [image] = source.listing()
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    [touched] = source.listing()
    assert touched.version == f"{touched.size}-1"
    assert touched.version != image.version


def test_an_image_that_went_away_is_missing(source):
    put(source, "a.jpg", "b.jpg")
    image, _ = source.listing()
    (source.root / "a.jpg").remove()
    assert reason_of(source, image) == ("missing", "not there any more; scan again")


@pytest.mark.parametrize("image_id", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg"])
def test_an_id_that_leaves_the_source_is_not_read(source, image_id):
    put(source, "a.jpg")
    assert reason_of(source, Listed(image_id, 1, "")) == ("outside", "the id leaves the source")


def test_a_dangling_link_is_listed_and_then_missing(tmp_path):
    source = FolderSource(Location.of(tmp_path))
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone")
    [image] = source.listing()
    assert image == Listed("a.jpg", 0, "dangling")
    assert reason_of(source, image)[0] == "missing"


def test_a_link_to_itself_is_unreadable_with_the_systems_words(tmp_path):
    source = FolderSource(Location.of(tmp_path))
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")
    [image] = source.listing()
    assert reason_of(source, image) == ("unreadable", "Too many levels of symbolic links")


def test_links_are_followed_but_for_those_that_lead_back(tmp_path):
    put(FolderSource(Location.of(tmp_path)), "elsewhere/a.jpg", "elsewhere/pear/b.jpg")
    source = FolderSource(Location.of(tmp_path / "images"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").symlink_to(tmp_path / "elsewhere/a.jpg")
    (tmp_path / "images/pear").symlink_to(tmp_path / "elsewhere/pear")
    (tmp_path / "images/gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "images/loop").symlink_to(tmp_path / "images")
    (tmp_path / "elsewhere/pear/loop").symlink_to(tmp_path / "images")
    found = list(source.listing())
    assert [image.id for image in found] == ["a.jpg", "pear/b.jpg"]
    assert [source.read(image.id, image.version) for image in found] == [
        b"bytes of elsewhere/a.jpg",
        b"bytes of elsewhere/pear/b.jpg",
    ]


def test_a_disk_that_fails_is_no_fault_of_the_image(tmp_path, monkeypatch):
    source = FolderSource(Location.of(tmp_path))
    put(source, "a.jpg")
    [image] = source.listing()

    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(objects, "_read_local", stale)
    with pytest.raises(StorageUnreachable, match=r"Reading .*a\.jpg failed \(Stale file handle\).*nothing was recorded"):
        source.read(image.id, image.version)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_a_pipe_or_device_is_unreadable_and_not_waited_for(tmp_path, make):
    source = FolderSource(Location.of(tmp_path))
    make(tmp_path / "a.jpg")
    [image] = source.listing()
    assert reason_of(source, image) == ("unreadable", "not a regular file")


def test_a_folder_in_an_images_place_is_unreadable(tmp_path):
    source = FolderSource(Location.of(tmp_path))
    put(source, "a.jpg")
    [image] = source.listing()
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.jpg").mkdir()
    assert reason_of(source, image) == ("unreadable", "Is a directory")


def test_a_huge_file_is_not_read(tmp_path):
    source = FolderSource(Location.of(tmp_path))
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(objects.MAX_IMAGE_BYTES + 1)  # a sparse file
    [image] = source.listing()
    assert reason_of(source, image) == ("too-large", "536,870,913 bytes; at most 536,870,912 are read")


def test_a_huge_object_is_not_read(monkeypatch):
    monkeypatch.setattr(objects, "MAX_IMAGE_BYTES", 10)
    source = FolderSource(Location.of(f"memory://{uuid.uuid4().hex}"))
    put(source, "a.jpg")
    [image] = source.listing()
    assert reason_of(source, image) == ("too-large", "14 bytes; at most 10 are read")


def test_a_missing_source_is_refused(source):
    with pytest.raises(SourceError, match=r"The source .*images does not exist\. Check the path given as --source"):
        source.check()
    with pytest.raises(SourceError, match="does not exist"):
        next(source.listing())


def test_a_file_is_no_source(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"The source .*a\.jpg is a file; trunkline reads folders of images"):
        FolderSource(Location.of(tmp_path / "a.jpg")).check()


def test_a_folder_that_cannot_be_listed_stops_the_scan(tmp_path):
    """Its path is longer than the system takes: a refusal that holds for every user, root too."""
    put(FolderSource(Location.of(tmp_path / "images")), "a.jpg")
    here = os.open(tmp_path / "images", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        with pytest.raises(SourceError, match=r"Cannot list .*ddd \(File name too long\)\. Its images would be lost; check"):
            ids(FolderSource(Location.of(tmp_path / "images")))
    finally:
        shutil.rmtree(tmp_path / "images")


def test_an_image_has_an_address(source):
    assert source.uri_of("a/b.jpg") == f"{source.root.uri}/a/b.jpg"


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"size": 3, "ETag": '"abc"', "LastModified": "now"}, "3-abc"),
        ({"size": 3, "etag": "abc"}, "3-abc"),
        ({"size": 3, "LastModified": "2026-01-01"}, "3-2026-01-01"),
        ({"size": 3, "ETag": None, "created": "x"}, "3-x"),
        ({"size": 3, "created": datetime(1970, 1, 2, tzinfo=UTC)}, "3-86400.0"),
        ({"size": 3, "created": 86400.0}, "3-86400.0"),
        ({"size": 3}, "3"),
    ],
)
def test_a_remote_version_is_the_storages_own_tag(info, version):
    assert objects.remote_version(info) == version


@pytest.mark.parametrize(
    ("names", "split_folders", "holds_out"),
    [
        (["apple/1.jpg", "pear/1.jpg"], False, False),
        (["train/apple/1.jpg", "test/apple/1.jpg"], True, True),
        (["Training/apple/1.jpg", "Validation/apple/1.jpg"], True, False),
        (["train/apple/1.jpg"], True, False),
        (["train/1.jpg", "apple/1.jpg"], False, False),
        (["test/1.jpg", "val/1.jpg"], False, False),
        (["1.jpg"], False, False),
        (["train/apple/1.jpg", "test/apple/1.jpg", ".cache/1.jpg", "notes/read.me"], True, True),
    ],
)
def test_the_folders_that_hold_images_say_whether_they_are_splits(source, names, split_folders, holds_out):
    put(source, *names)
    tops = {image.id.split("/", 1)[0] for image in source.listing() if "/" in image.id}
    assert source.layout_of(tops, "folders") == Layout(True, split_folders, holds_out)
    assert source.layout_of(tops, "none") == Layout(False, split_folders, holds_out)


def test_top_folders_are_all_that_a_layout_needs(source):
    names = ["train/apple/1.jpg", "test/apple/1.jpg", "1.jpg"]
    folders = {folder for name in names if (folder := top_folder(name))}
    assert folders == {"train", "test"}
    assert source.layout_of(folders, "folders") == Layout(True, True, True)


@pytest.mark.parametrize("other", ["test", "val"])
def test_splits_beside_other_folders_are_refused(source, other):
    tops = ["train", other, "extra"]
    with pytest.raises(SourceError, match=rf"train and {other} folders beside others \(extra\): are they splits or classes\?"):
        source.layout_of(tops, "folders")
    assert not source.layout_of(tops, "none").split_folders


@pytest.mark.parametrize(
    ("layout", "image_id", "label"),
    [
        (Layout(True, False, False), "apple/1.jpg", "apple"),
        (Layout(True, False, False), "apple/red/1.jpg", "apple"),
        (Layout(True, False, False), "1.jpg", None),
        (Layout(True, True, True), "train/apple/1.jpg", "apple"),
        (Layout(True, True, True), "train/1.jpg", None),
        (Layout(False, True, True), "train/apple/1.jpg", None),
    ],
)
def test_the_folder_is_the_label(layout, image_id, label):
    assert layout.label(image_id) == label


def test_folders_name_the_split_and_the_hash_only_fills_in():
    everything_is_test = SplitSpec(test_fraction=1 - 1e-12)
    holds_out, holds_none, flat = Layout(True, True, True), Layout(True, True, False), Layout(True, False, False)
    assert holds_out.split("train/a/1.jpg", everything_is_test) == "train"
    assert holds_out.split("Testing/a/1.jpg", everything_is_test) == "test"
    assert holds_out.split("val/a/1.jpg", everything_is_test) == "val"
    assert holds_none.split("train/a/1.jpg", everything_is_test) == "test"
    assert holds_none.split("valid/a/1.jpg", everything_is_test) == "val"
    assert flat.split("test/1.jpg", SplitSpec(test_fraction=1e-12)) == "train"


def test_the_hashed_split_never_changes():
    """A change here reshuffles every dataset that has no test folder."""
    tests = [number for number in range(12) if hashed_split(f"apple/{number}.jpg", SplitSpec()) == "test"]
    assert tests == [2, 5, 7]


def test_the_hashed_split_keeps_its_share_and_grows_with_it():
    images = [f"{number}.jpg" for number in range(4000)]

    def held_out(**spec: float) -> set[str]:
        return {image for image in images if hashed_split(image, SplitSpec(**spec)) == "test"}

    assert 0.18 < len(held_out(test_fraction=0.2)) / 4000 < 0.22
    assert held_out(test_fraction=0.1) < held_out(test_fraction=0.2)
    assert len(held_out(seed=1) & held_out(seed=0)) / 4000 < 0.06


def test_a_bucket_is_listed_afresh(source):
    if source.root.is_local:
        return
    put(source, "a.jpg")
    assert ids(source) == ["a.jpg"]
    filesystem("memory").pipe_file(f"{source.root.uri}/b.jpg", b"x")
    assert ids(source) == ["a.jpg", "b.jpg"]
