"""Sources on a real S3 endpoint: listed by pages and several ranges at once, read with one request an image, refused in words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from trunkline.errors import SourceError, StorageError, UnreadableImage
from trunkline.locations import Location, filesystem
from trunkline.sources import FolderSource, GlobSource, TableSource, TarSource, s3, source_of
from trunkline.specs import RunSpec


def put(bucket: Location, *keys: str) -> None:
    def one(key: str) -> None:
        (bucket / key).write(key.encode())

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(one, keys))


def ids(source: FolderSource) -> list[str]:
    return [image.id for image in source.listing()]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings of 3 entries a page, as of large buckets."""
    ask = s3.list_page

    def few(bucket: Location, **said: Any) -> dict[str, Any]:
        return ask(bucket, **({"MaxKeys": 3} | said))

    monkeypatch.setattr(s3, "list_page", few)


KEYS = [
    *(f"data/{folder}/{number}.jpg" for folder in "abcdefghijklm" for number in range(4)),
    *(f"data/deep/er/{number}/x.png" for number in range(5)),
    *(f"data/{name}.jpg" for name in ("a", "b-between", "c", "zz")),
    "data/größe/漢字 #1.png",
    "data/notes.txt",
    "data/.hidden.jpg",
    "data/.git/a.jpg",
    "data/a/.b/c.jpg",
    "database/no.jpg",
]
IMAGES = sorted(key.removeprefix("data/") for key in KEYS[:-5])


@pytest.mark.usefixtures("small_pages")
def test_every_key_is_listed_once_and_always_in_the_same_order(bucket: Location):
    put(bucket, *KEYS)
    source = FolderSource(bucket / "data")
    assert sorted(ids(source)) == IMAGES
    assert ids(source) == ids(source)


def test_one_page_is_listed_as_many_are(bucket: Location):
    put(bucket, *KEYS)
    assert sorted(ids(FolderSource(bucket / "data"))) == IMAGES


def test_a_whole_bucket_is_a_folder(bucket: Location):
    put(bucket, "a.jpg", "b/c.jpg")
    assert ids(FolderSource(bucket)) == ["a.jpg", "b/c.jpg"]


@pytest.mark.usefixtures("small_pages")
def test_a_glob_lists_what_it_matches(bucket: Location):
    put(
        bucket,
        *(f"2026-{month:02}/{name}" for month in range(1, 9) for name in ("a/1.jpg", "2.jpg", "3.png")),
        "2025-01/a/1.jpg",
    )
    source = GlobSource(Location.of(f"{bucket}/2026-*/**/*.jpg"))
    assert sorted(ids(source)) == [f"2026-{month:02}/{name}" for month in range(1, 9) for name in ("2.jpg", "a/1.jpg")]
    image = next(source.listing())
    assert source.read(image.id, image.version) == image.id.encode()


def test_an_image_is_read_with_one_request_and_as_the_listing_saw_it(bucket: Location, requests: list[str]):
    put(bucket, "a.jpg", "b.jpg")
    source = FolderSource(bucket)
    images = list(source.listing())
    requests.clear()
    assert [source.read(image.id, image.version) for image in images] == [b"a.jpg", b"b.jpg"]
    assert requests == ["get_object", "get_object"]
    (bucket / "a.jpg").write(b"other")
    with pytest.raises(UnreadableImage, match="changed: not the file the scan saw"):
        source.read("a.jpg", images[0].version)


def test_many_threads_read_at_once(bucket: Location):
    put(bucket, *(f"{number}.jpg" for number in range(40)))
    source = FolderSource(bucket)
    images = list(source.listing())
    with ThreadPoolExecutor(16) as threads:
        read = list(threads.map(lambda image: source.read(image.id, image.version), images))
    assert read == [image.id.encode() for image in images]


def test_a_missing_object_is_its_own_fault_and_a_missing_bucket_is_not(bucket: Location):
    put(bucket, "a.jpg")
    with pytest.raises(UnreadableImage, match="missing: not there any more"):
        FolderSource(bucket).read("b.jpg", "")
    with pytest.raises(StorageError, match=r"There is no bucket 'gone-away' here\. Check its name and the endpoint"):
        FolderSource(Location.of("s3://gone-away")).read("a.jpg", "")


def test_an_object_too_large_is_not_read(bucket: Location, monkeypatch: pytest.MonkeyPatch):
    put(bucket, "a.jpg")
    monkeypatch.setattr("trunkline.sources.objects.MAX_IMAGE_BYTES", 4)
    with pytest.raises(UnreadableImage, match="too-large: 5 bytes; at most 4 are read"):
        FolderSource(bucket).fetch("a.jpg")


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://no-such-bucket/data", r"s3://no-such-bucket/data does not exist: there is no bucket no-such-bucket"),
        ("s3://no-such-bucket/2026-*/*.jpg", r"does not exist: there is no bucket no-such-bucket"),
        ("s3://no-such-bucket/a.csv", r"a\.csv does not exist, or cannot be read\. Check the path"),
        ("s3://no-such-bucket/a.tar", r"a\.tar does not exist, or cannot be read\. Check the path"),
    ],
)
def test_a_missing_bucket_is_said(uri: str, words: str):
    with pytest.raises(SourceError, match=words):
        list(source_of(RunSpec(source=uri, store="/nowhere")).listing())


def test_what_is_missing_in_a_bucket_is_said(bucket: Location):
    put(bucket, "a.jpg")
    for name, words in [
        ("no", "holds no key below it"),
        ("no.csv", "does not exist, or cannot"),
        ("no.parquet", "does not exist, or"),
    ]:
        with pytest.raises(SourceError, match=words):
            list(source_of(RunSpec(source=f"{bucket}/{name}", store="/nowhere")).listing())


@pytest.mark.usefixtures("no_permission")
def test_no_permission_is_said(bucket: Location):
    with pytest.raises(
        SourceError, match=r"No permission to list s3://.*s3:ListBucket; check the credentials and the bucket's policy"
    ):
        FolderSource(bucket).check()
    with pytest.raises(StorageError, match=r"a\.jpg is refused .* Check the credentials"):
        FolderSource(bucket).read("a.jpg", "")


def test_a_table_of_s3_uris(bucket: Location):
    put(bucket, "x/a.jpg", "b.jpg")
    (bucket / "x/table.csv").write(f"uri\na.jpg\n{bucket}/b.jpg\n{bucket}/gone.jpg\n".encode())
    source = TableSource(bucket / "x/table.csv")
    a, b, gone = source.listing()
    assert (a.id, a.size, b.id, b.size) == ("a.jpg", 7, f"{bucket}/b.jpg", 5)
    assert (gone.size, gone.version) == (0, "missing")
    assert source.read(a.id, a.version, a.place) == b"x/a.jpg"
    assert source.read(b.id, b.version, b.place) == b"b.jpg"
    listed = {image.id: image.version for image in FolderSource(bucket).listing()}
    assert (a.version, b.version) == (listed["x/a.jpg"], listed["b.jpg"])  # a look says what a listing says


def test_members_of_a_tar_are_read_by_range(bucket: Location, requests: list[str], make_tar: Any):
    (bucket / "shards/0.tar").write(make_tar({"1.jpg": b"one", "1.cls": b"7", "2.jpg": b"two two"}))
    source = TarSource(bucket / "shards")
    images = list(source.listing())
    assert [(image.id, image.label) for image in images] == [("0.tar/1.jpg", "7"), ("0.tar/2.jpg", None)]
    requests.clear()
    assert [source.read(image.id, image.version, image.place) for image in images] == [b"one", b"two two"]
    assert requests == ["get_object", "get_object"]
    filesystem("s3").invalidate_cache()
    assert [image.version for image in source.listing()] == [image.version for image in images]
