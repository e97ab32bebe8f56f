"""Tar shards: members by offset, labels beside them, and what a tar may say that is not believed."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import SourceError, UnreadableImage
from trunkline.locations import Location
from trunkline.sources import TarSource, objects
from trunkline.sources.tar_members import members

MakeTar = Callable[..., bytes]


def read(source: TarSource) -> dict[str, bytes]:
    return {image.id: source.read(image.id, image.version, image.place) for image in source.listing()}


@pytest.fixture(params=["file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location.of(tmp_path / "shards" if request.param == "file" else f"memory://{tmp_path.name}/shards")


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_read_by_their_offset(root: Location, make_tar: MakeTar, format_: int):
    long = "d" * 90 + "/" + "x" * 90 + ".jpg"
    odd = {} if format_ == tarfile.USTAR_FORMAT else {"größe/" + "漢" * 70 + ".png": b"odd"}
    files = {
        "0001.jpg": b"one",
        "b/0002.png": b"two" * 400,
        long: b"long",
        "notes.txt": b"-",
        ".x/h.jpg": b"-",
        "e.jpg": b"",
    } | odd
    (root / "0.tar").write(make_tar(files, format_))
    (root / "1/1.tar").write(make_tar({"./0001.jpg": b"other"}, format_))
    source = TarSource(root)
    images = {name: content for name, content in files.items() if name not in ("notes.txt", ".x/h.jpg")}
    assert read(source) == {f"0.tar/{name}": content for name, content in images.items()} | {"1/1.tar/0001.jpg": b"other"}
    assert [image.size for image in source.listing()][:2] == [3, 1200]
    assert source.uri_of("0.tar/0001.jpg", "512+3@0.tar") == f"{root}/0.tar/0001.jpg"


def test_one_tar_and_a_glob(root: Location, make_tar: MakeTar):
    (root / "a-0.tar").write(make_tar({"x.jpg": b"x"}))
    (root / "b-0.tar").write(make_tar({"y.jpg": b"y"}))
    assert read(TarSource(root / "a-0.tar")) == {"a-0.tar/x.jpg": b"x"}
    assert read(TarSource(Location(f"{root}/b-*.tar"))) == {"b-0.tar/y.jpg": b"y"}


def test_a_cls_member_labels_the_images_of_its_key(root: Location, make_tar: MakeTar):
    files = {
        "1.cls": b" apple\n",
        "1.left.jpg": b"x",
        "1.right.jpg": b"x",
        "a/1.jpg": b"x",
        "2.jpg": b"x",
        "2.json": b"{}",
        "2.cls": b"pear",
        "3.jpg": b"x",
        "3.cls": b"",
    }
    (root / "0.tar").write(make_tar(files))
    assert [(image.id, image.label) for image in TarSource(root).listing()] == [
        ("0.tar/1.left.jpg", "apple"),
        ("0.tar/1.right.jpg", "apple"),
        ("0.tar/a/1.jpg", None),
        ("0.tar/2.jpg", "pear"),
        ("0.tar/3.jpg", None),
    ]


@pytest.mark.parametrize(
    ("content", "words"), [(b"x" * 1025, "has 1,025 bytes, which is no label"), (b"\xff", "is not UTF-8 text")]
)
def test_a_label_that_is_none_is_refused(root: Location, make_tar: MakeTar, content: bytes, words: str):
    (root / "0.tar").write(make_tar({"1.jpg": b"x", "1.cls": content}))
    with pytest.raises(SourceError, match=rf"The member '1\.cls' of .*0\.tar {words}"):
        list(TarSource(root).listing())


def special(name: str, type_: bytes, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type_, target
    return info.tobuf(tarfile.GNU_FORMAT)


def test_links_and_devices_are_listed_and_unreadable(root: Location, make_tar: MakeTar):
    odd = [
        special("1.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        special("2.jpg", tarfile.LNKTYPE, "../../secret"),
        special("3.jpg", tarfile.CHRTYPE),
        special("4.jpg", tarfile.FIFOTYPE),
        special("dir.jpg/", tarfile.DIRTYPE),
    ]
    (root / "0.tar").write(b"".join(odd) + make_tar({"5.jpg": b"x"}))
    source, seen = TarSource(root), {}
    for image in source.listing():
        try:
            seen[image.id] = source.read(image.id, image.version, image.place).decode()
        except UnreadableImage as error:
            seen[image.id] = f"{error.reason}: {error.detail}"
    words = [f"unreadable: a {what} in a tar" for what in ("link", "link", "special", "special")]
    assert seen == {f"0.tar/{number}.jpg": what for number, what in enumerate([*words, "x"], 1)}


def test_a_sparse_member_is_unreadable(root: Location):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("1.jpg")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        tar.addfile(info)
    (root / "0.tar").write(out.getvalue())
    source = TarSource(root)
    [image] = source.listing()
    with pytest.raises(UnreadableImage, match="unreadable: a special in a tar"):
        source.read(image.id, image.version, image.place)


def test_a_compressed_tar_is_refused(root: Location, make_tar: MakeTar):
    (root / "0.tar").write(gzip.compress(make_tar({"1.jpg": b"x"}) * 3))
    with pytest.raises(SourceError, match=r"0\.tar is no tar .*a compressed tar cannot be used: unpack it"):
        list(TarSource(root).listing())


def test_a_tar_that_is_cut_off_is_refused(root: Location, make_tar: MakeTar):
    whole = make_tar({"1.jpg": b"x" * 2000, "2.jpg": b"y" * 2000})
    (root / "0.tar").write(whole[:3500])
    with pytest.raises(
        SourceError, match=r"cannot be listed beyond byte 2,560: a member of 2,000 bytes does not fit .*cut off"
    ):
        list(TarSource(root).listing())
    (root / "0.tar").write(whole[:2560] + b"garbage" * 100)
    with pytest.raises(SourceError, match=r"cannot be listed beyond byte 2,560: there is no header"):
        list(TarSource(root).listing())


def test_absurd_sizes_are_refused_or_too_large(tmp_path: Path, make_tar: MakeTar, monkeypatch: pytest.MonkeyPatch):
    huge = tarfile.TarInfo("1.jpg")
    huge.size = 2**60
    (tmp_path / "0.tar").write_bytes(huge.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(SourceError, match=r"a member of 1,152,921,504,606,846,976 bytes does not fit into it"):
        list(TarSource(Location.of(tmp_path)).listing())
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = b"L", 2 * 2**20
    with (tmp_path / "0.tar").open("wb") as file:
        file.write(name.tobuf(tarfile.GNU_FORMAT))
        file.truncate(3 * 2**20)
    with pytest.raises(SourceError, match=r"2,097,152 bytes of attributes, which no honest tar has"):
        list(TarSource(Location.of(tmp_path)).listing())
    (tmp_path / "0.tar").write_bytes(make_tar({"1.jpg": b"x" * 100}))
    monkeypatch.setattr(objects, "MAX_IMAGE_BYTES", 99)
    [image] = TarSource(Location.of(tmp_path)).listing()
    with pytest.raises(UnreadableImage, match=r"too-large: 100 bytes; at most 99 are read"):
        TarSource(Location.of(tmp_path)).read(image.id, image.version, image.place)


def test_a_tar_that_changed_holds_no_image_of_the_scan(root: Location, make_tar: MakeTar):
    (root / "0.tar").write(make_tar({"1.jpg": b"one"}))
    source = TarSource(root)
    [image] = source.listing()
    (root / "0.tar").write(make_tar({"1.jpg": b"two", "2.jpg": b"x" * 20_000}))
    with pytest.raises(UnreadableImage, match="changed: not the file the scan saw"):
        source.read(image.id, image.version, image.place)
    (root / "0.tar").write(b"short")
    with pytest.raises(UnreadableImage, match=r"truncated: 0\.tar ends before the image does"):
        source.read(image.id, image.version, image.place)
    (root / "0.tar").remove()
    with pytest.raises(UnreadableImage, match="missing"):
        source.read(image.id, image.version, image.place)


@pytest.mark.parametrize("place", ["", "x", "1+2", "1+2@", "-1+2@0.tar", "1+2@../secret", "1+2@/etc/passwd"])
def test_a_place_that_is_none_is_not_read(tmp_path: Path, place: str):
    with pytest.raises(UnreadableImage, match="outside"):
        TarSource(Location.of(tmp_path)).fetch("0.tar/1.jpg", place)


def test_no_tars_are_said(tmp_path: Path):
    with pytest.raises(SourceError, match=r"holds no files named \.tar"):
        list(TarSource(Location.of(tmp_path)).listing())
    with pytest.raises(SourceError, match=r"no does not exist"):
        TarSource(Location.of(tmp_path / "no")).check()


@given(st.binary(max_size=600), st.integers(0, 3000), st.binary(min_size=1, max_size=30))
def test_no_bytes_make_it_fail_in_another_way(start: bytes, at: int, patch: bytes):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("größe.jpg"))
        info = tarfile.TarInfo("1.jpg")
        info.size = 700
        tar.addfile(info, io.BytesIO(b"x" * 700))
    whole = out.getvalue()[:4096]
    for content in (start, whole[:at] + patch + whole[at + len(patch) :]):
        try:
            for member in members(io.BytesIO(content), len(content), "here"):
                assert 0 < member.offset <= member.offset + member.size <= len(content) + 512
        except SourceError:
            pass
