"""Locations: names that cannot escape, whole objects or none, one winner of many, and refusals in words."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import StorageError, StorageUnreachable, StoreError
from trunkline.locations import Location, filesystem, storage_errors_in_words

RACERS = 16


@pytest.fixture(params=["file", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    if request.param == "file":
        yield Location.of(tmp_path / "store")
        return
    if request.param == "s3":
        yield request.getfixturevalue("bucket") / "store"
        return
    location = Location.of(f"memory://{uuid.uuid4().hex}/store")
    yield location
    location.remove()


def leftovers(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.rglob("*") if each.name.endswith(".tmp"))


def test_a_local_path_becomes_absolute_and_plain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Location.of("a/./b/../c/").uri == str(tmp_path / "a/c")
    assert Location.of(Path("a")).uri == str(tmp_path / "a")
    assert Location.of("file:///data/images/").uri == "/data/images"
    assert Location.of("~/images").uri == "/home/somebody/images"


def test_a_url_keeps_its_scheme_and_loses_trailing_slashes():
    location = Location.of("s3://bucket/key//")
    assert (location.uri, location.scheme, location.name, location.is_local) == ("s3://bucket/key", "s3", "key", False)
    assert str(location) == "s3://bucket/key"


@pytest.mark.parametrize("uri", ["memory://", "s3:///", "file:////"])
def test_a_url_without_a_place_never_becomes_a_local_folder_named_after_its_scheme(uri):
    if uri.startswith("file"):
        assert Location.of(uri).uri.strip("/") == ""
    else:
        with pytest.raises(StoreError, match=r"names no bucket or folder"):
            Location.of(uri)


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "a/..", "/etc/passwd", "", ".", "a\0b"])
def test_a_name_that_would_leave_is_refused(place, name):
    with pytest.raises(StoreError, match=r"would leave .*names are relative and hold no '\.\.'"):
        place / name


@pytest.mark.parametrize("name", ["a..b", "..a", "a/b c/d", "line\nbreak", "漢字.png", "%2e%2e", "#x?y"])
def test_odd_names_are_names(tmp_path, name):
    location = Location.of(tmp_path) / name
    location.write(b"x")
    assert location.read() == b"x"
    assert (tmp_path / name).read_bytes() == b"x"


@given(st.text(min_size=1, max_size=30))
def test_no_name_ever_leads_outside(name):
    root = Location.of("/data/store")
    try:
        inside = root / name
    except StoreError:
        return
    assert os.path.normpath(inside.uri).startswith("/data/store/")


def test_only_a_local_location_has_a_path():
    with pytest.raises(StoreError, match=r"memory://a/b is not on a local file system\."):
        _ = Location.of("memory://a/b").path


def test_an_unknown_scheme_is_refused_in_words():
    with pytest.raises(StoreError, match=r"No access to nosuch:// locations: .*Check the scheme"):
        Location.of("nosuch://a/b").exists()


def test_a_file_system_is_made_once():
    assert filesystem("memory") is filesystem("memory")


def test_write_makes_folders_and_replaces(place):
    target = place / "a/b/c.json"
    assert not target.exists()
    target.write(b"one")
    target.write(b"two")
    assert target.exists()
    assert target.read() == b"two"


def test_create_makes_once(place):
    target = place / "a/b.json"
    target.create(b"first")
    with pytest.raises(FileExistsError):
        target.create(b"second")
    assert target.read() == b"first"
    assert (place / "a").names() == ["b.json"]


def test_reading_what_is_not_there(place):
    with pytest.raises(FileNotFoundError):
        (place / "nothing").read()


def test_names_are_sorted_and_those_of_one_level(place):
    for name in ("b", "a", "c/d", ".hidden"):
        (place / name).write(b"x")
    assert place.names() == ["a", "b", "c"]
    assert (place / "nothing").names() == []


def test_names_of_an_object_are_none(place):
    (place / "object").write(b"x")
    assert (place / "object").names() == []


def test_names_sees_what_another_process_wrote(place):
    (place / "a").write(b"x")
    assert place.names() == ["a"]
    (place / "b").write(b"x")
    assert place.names() == ["a", "b"]


def test_remove_takes_a_folder_an_object_or_nothing(place):
    (place / "a/b").write(b"x")
    (place / "a/c/d").write(b"x")
    (place / "a/b").remove()
    assert (place / "a").names() == ["c"]
    (place / "a").remove()
    assert not (place / "a").exists()
    (place / "a").remove()


def test_size_is_the_bytes_of_everything_below(place):
    assert place.size() == 0
    (place / "a/b").write(b"12345")
    (place / "c").write(b"123")
    assert place.size() == 8
    assert (place / "c").size() == 3


def test_of_many_threads_one_creates(tmp_path):
    target, barrier = Location.of(tmp_path) / "lease", threading.Barrier(RACERS)

    def race(number: int) -> bool:
        barrier.wait()
        try:
            target.create(str(number).encode() * 1000)
        except FileExistsError:
            return False
        return True

    for _ in range(5):
        target.remove()
        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(race, range(RACERS)))
        assert won.count(True) == 1
        assert target.read() == str(won.index(True)).encode() * 1000
        assert leftovers(target.path.parent) == []


def test_of_many_processes_one_creates(tmp_path):
    code = """
import os, sys
from trunkline.locations import Location
target = Location.of(sys.argv[1])
go, gone = os.pipe()
racers = []
for number in range(8):
    racer = os.fork()
    if not racer:
        os.close(gone)
        os.read(go, 1)  # all start when the parent closes its end
        try:
            target.create(str(number).encode() * 100_000)
        except FileExistsError:
            os._exit(17)
        os._exit(0)
    racers.append(racer)
os.close(gone)
codes = [os.waitstatus_to_exitcode(os.waitpid(racer, 0)[1]) for racer in racers]
sys.stdout.write(f"{codes.count(0)} {codes.count(17)} {codes.index(0)}")
"""
    target = tmp_path / "lease"
    ended = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True, timeout=60)
    winners, losers, winner = ended.stdout.split()
    assert (winners, losers) == ("1", "7")
    assert target.read_bytes() == winner.encode() * 100_000
    assert leftovers(tmp_path) == []


def test_a_reader_sees_one_whole_object_or_the_other(tmp_path):
    target, stop, torn = Location.of(tmp_path / "object"), threading.Event(), []
    whole = {bytes([value]) * 200_000 for value in (1, 2)}
    target.write(b"\1" * 200_000)

    def read() -> None:
        while not stop.is_set():
            if target.read() not in whole:
                torn.append(True)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(100):
        target.write(bytes([1 + turn % 2]) * 200_000)
    stop.set()
    reader.join()
    assert torn == []


def test_staged_becomes_the_object_at_the_end_only(tmp_path):
    target = Location.of(tmp_path / "a/model.bin")
    with target.staged() as path:
        path.write_bytes(b"half")
        assert not target.exists()
        assert target.path.parent == path.parent  # the same file system, so that moving is atomic
    assert target.read() == b"half"
    assert leftovers(tmp_path) == []


def test_staged_leaves_nothing_behind_when_its_block_fails(tmp_path):
    target = Location.of(tmp_path / "model.bin")
    target.write(b"old")

    def fail() -> None:
        with target.staged() as path:
            path.write_bytes(b"half")
            raise RuntimeError("the block failed")

    with pytest.raises(RuntimeError, match="the block failed"):
        fail()
    assert target.read() == b"old"
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_said_in_words(tmp_path):
    target = Location.of(tmp_path / "model.bin")

    def fill() -> None:
        with target.staged(), Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(StorageError, match=r"Writing .*model\.bin failed \(No space left on device\)\. The disk is full: free"):
        fill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [Location.write, Location.create])
def test_what_may_not_be_written_is_said_in_words(write):
    with pytest.raises(StorageError, match=r"Writing /sys/.* failed .*Check permissions and whether"):
        write(Location.of("/sys/trunkline/object"), b"x")


@pytest.mark.parametrize("write", [Location.write, Location.create])
def test_a_file_where_a_folder_should_be_is_a_refusal_and_no_lost_race(tmp_path, write):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"Writing .*file/object failed \(Not a directory\)"):
        write(Location.of(tmp_path / "file/object"), b"x")
    with pytest.raises(StorageError, match=r"Not a directory"):
        write(Location.of(tmp_path / "file/deeper/object"), b"x")


def test_a_write_that_breaks_off_leaves_the_old_object_and_no_temporary_file(tmp_path):
    """The operating system's limit on file size stops the write halfway, as a quota does."""
    code = """
import resource, sys
from trunkline.errors import StorageError
from trunkline.locations import Location
target = Location.of(sys.argv[1])
target.write(b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for write in (target.write, (Location.of(sys.argv[1] + "2")).create):
    try:
        write(b"x" * 1_000_000)
    except StorageError as error:
        sys.stdout.write(f"{error}\\n")
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "object")], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.count("(File too large). Check the disk or bucket, then start the same command again") == 2
    assert [each.name for each in tmp_path.iterdir()] == ["object"]
    assert (tmp_path / "object").read_bytes() == b"old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_and_a_quota_are_both_full(number):
    with pytest.raises(StorageError, match="The disk is full"), storage_errors_in_words(Location.of("s3://b/k")):
        raise OSError(number, os.strerror(number))


def test_an_error_without_a_number_keeps_its_own_words():
    words = r"Writing s3://b/k failed \(bucket went away\)\. Check the disk or bucket"
    with pytest.raises(StorageError, match=words), storage_errors_in_words(Location.of("s3://b/k")):
        raise OSError("bucket went away")


class Refusing:
    """A bucket that lets nobody in, as far as fsspec's calls go."""

    def __getattr__(self, name: str) -> object:
        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError("Unable to locate credentials")

        return refuse


@pytest.mark.parametrize(
    "use",
    [
        lambda place: place.read(),
        lambda place: place.write(b"x"),
        lambda place: place.create(b"x"),
        lambda place: place.exists(),
        lambda place: place.names(),
        lambda place: place.remove(),
        lambda place: place.size(),
    ],
    ids=["read", "write", "create", "exists", "names", "remove", "size"],
)
def test_a_bucket_that_does_not_answer_is_said_in_words(
    use: Callable[[Location], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.locations.filesystem", lambda _: Refusing())
    with pytest.raises(
        StorageUnreachable, match=r"s3://bucket/x cannot be reached \(RuntimeError: Unable to locate credentials\)"
    ):
        use(Location.of("s3://bucket/x"))


@pytest.mark.parametrize("use", [lambda place: place.write(b"x"), lambda place: place.create(b"x")], ids=["write", "create"])
def test_a_bucket_that_is_not_there_is_said_in_words(
    use: Callable[[Location], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing(Refusing):
        def pipe_file(self, *_: object, **__: object) -> None:
            raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr("trunkline.locations.filesystem", lambda _: Missing())
    with pytest.raises(StorageError, match=r"s3://bucket/x cannot be written: .*does not exist\. Check that the bucket exists"):
        use(Location.of("s3://bucket/x"))


def test_a_password_in_a_url_is_refused() -> None:
    with pytest.raises(StoreError, match=r"holds a password, which would be written into the store") as refused:
        Location.of("ftp://reader:secret@host/images")
    assert "secret" not in str(refused.value)


def test_a_file_system_without_hard_links_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(StorageError, match=r"has no hard links, so objects cannot be created exclusively"):
        Location.of(tmp_path / "x").create(b"x")
    assert list(tmp_path.iterdir()) == []


def test_what_may_not_be_read_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    place = Location.of(tmp_path / "x")
    for name, words, use in (
        ("read_bytes", "Reading", place.read),
        ("exists", "Looking at", place.exists),
        ("iterdir", "Listing", place.names),
    ):
        monkeypatch.setattr(Path, name, forbidden)
        with pytest.raises(StorageError, match=rf"{words} .*x failed \(Permission denied\)\. Check permissions"):
            use()


def test_a_file_is_no_folder_to_look_into(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    inside = Location.of(tmp_path / "file" / "x")
    assert (inside.exists(), inside.names(), Location.of(tmp_path / "file").names()) == (False, [], [])
    with pytest.raises(FileNotFoundError):
        inside.read()


def test_modified_is_when_an_object_was_written_last(place) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    place.write(b"x")
    assert before < place.modified() < datetime.now(UTC) + timedelta(seconds=5)
    with pytest.raises(FileNotFoundError):
        (place / "not-there").modified()
