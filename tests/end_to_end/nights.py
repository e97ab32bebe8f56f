"""Two nightly batches on `s3://`, with new, changed, renamed and removed images: what each night found, read and wrote.

    python -m tests.end_to_end.nights FOLDER ... --count 1000

uploads photos of some folders into a bucket of moto's server (or of the endpoint that TRUNKLINE_TEST_S3_ENDPOINT names), runs trunkline
over them, changes the bucket, runs it again, and so on, and prints a table of counts. Everything is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import FaultyEndpoint
from tests.s3 import ACCESS_KEY, ENDPOINT, SECRET, _wait_until_it_answers, free_port, objects_in
from trunkline import open_features
from trunkline.locations import Location, filesystem

IMAGES = (".jpg", ".jpeg", ".png")


@dataclass
class Bucket:
    """The images in a bucket as they should be: key → local file; and what a night changes."""

    place: Location
    files: dict[str, Path] = field(default_factory=dict)

    def put(self, key: str, file: Path) -> None:
        self.files[key] = file
        (self.place / key).write(file.read_bytes())

    def rename(self, key: str, other: str) -> None:
        filesystem("s3").mv(f"{self.place}/{key}", f"{self.place}/{other}")
        self.files[other] = self.files.pop(key)

    def remove(self, key: str) -> None:
        (self.place / key).remove()
        del self.files[key]


@dataclass(frozen=True)
class Night:
    """What a night should find, what it did, and what it read and wrote."""

    name: str
    expected: dict[str, int]
    scanned: dict[str, Any]
    extracted: dict[str, Any]
    summary: dict[str, Any]
    written: dict[str, int]
    images_read: int

    def check(self, rows: int) -> None:
        found = {what: self.scanned[what] for what in self.expected}
        assert found == self.expected, (self.name, found, self.expected)
        fresh = self.expected["added"] + self.expected["changed"] + self.expected["renamed"]
        assert (self.extracted["extracted"], self.summary["extracted"]) == (fresh, 0), (self.name, self.extracted)
        assert (self.summary["rows"], self.summary["ok"], self.summary["pending"]) == (rows, rows, 0), self.summary
        assert self.written["rewritten"] == 0, self.written
        assert self.images_read == fresh, (self.name, self.images_read)


def changes(bucket: Bucket, new: list[Path], changed: list[Path], renamed: int, removed: int, night: int) -> dict[str, int]:
    """Change the bucket; what a scan should find of it."""
    keys = sorted(bucket.files)
    step = len(keys) // (len(changed) + renamed + removed + 1)
    picked = iter(keys[::step])
    for file in changed:
        bucket.put(next(picked), file)
    for _ in range(renamed):
        key = next(picked)
        folder, _, name = key.rpartition("/")
        bucket.rename(key, f"{folder}/renamed-{night}-{name}")
    for _ in range(removed):
        bucket.remove(next(picked))
    unchanged = len(bucket.files) - len(changed) - renamed
    for number, file in enumerate(new):
        bucket.put(f"{number % 5}/new-{night}-{number:06d}-{file.name}", file)
    return {"added": len(new), "changed": len(changed), "renamed": renamed, "removed": removed, "unchanged": unchanged}


def run_night(
    name: str, endpoint: FaultyEndpoint, bucket: Bucket, store: Location, expected: dict[str, int], options: list[str]
) -> Night:
    """Scan, extract, and run what is left; objects and requests for images counted."""
    before = objects_in(store)
    scanned = trunkline("scan", "--source", bucket.place, "--store", store, *options)
    endpoint.begin()
    extracted = trunkline("extract", "--store", store, *options)
    inside = f"{bucket.place.uri.removeprefix('s3:/')}/"
    read = sum(method == "GET" and path.startswith(inside) for method, path in endpoint.asked)
    summary = trunkline("run", "--store", store, "--head", "softmax", *options)
    after = objects_in(store)
    same = [key for key in before if write_once(key)]
    written = {
        "objects": len(after.keys() - before.keys()),
        "bytes": sum(len(after[key]) for key in after.keys() - before.keys()),
        "rewritten": sum(after.get(key) != before[key] for key in same),
    }
    night = Night(name, expected, scanned, extracted, summary, written, read)
    night.check(len(bucket.files))
    return night


def write_once(key: str) -> bool:
    """Committed objects: manifests, labels, splits, features, records, moments; an array's header says how many rows there are."""
    return (
        key.startswith(("datasets/", "features/")) and not key.endswith(("zarr.json", "report.json")) and "/leases/" not in key
    )


def trunkline(*words: object) -> dict[str, Any]:
    """A command, as a user starts it; the JSON it ends with."""
    command = [sys.executable, "-c", "from trunkline.cli import main; main()", *map(str, words), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return said


def two_nights(endpoint: FaultyEndpoint, place: Location, photos: list[Path], options: list[str]) -> list[Night]:
    """A first run over nine tenths of the photos, then two nights; the purge of a removed image; a whole and clean store."""
    first, rest = photos[: len(photos) * 9 // 10], photos[len(photos) * 9 // 10 :]
    some = max(1, len(photos) // 50)
    bucket, store = Bucket(place / "photos"), place / "store"
    for number, file in enumerate(first):
        bucket.put(f"{number % 5}/{number:06d}-{file.name}", file)
    found = {"added": len(bucket.files), "changed": 0, "renamed": 0, "removed": 0, "unchanged": 0}
    nights = [run_night("first run", endpoint, bucket, store, found, options)]
    before = features_of(store, 0)
    for number in (1, 2):
        new, rest = rest[:some], rest[some:]
        changed, rest = rest[:some], rest[some:]
        found = changes(bucket, new, changed, some, some, number)
        nights.append(run_night(f"night {number}", endpoint, bucket, store, found, options))
    nothing = {"added": 0, "changed": 0, "renamed": 0, "removed": 0, "unchanged": len(bucket.files)}
    nights.append(run_night("nothing new", endpoint, bucket, store, nothing, options))
    assert features_of(store, 0) == before, "the dataset as of the first batch is not what it was"
    purge_one(store, options)
    assert trunkline("verify", store)["findings"] == []
    assert [each for each in trunkline("gc", store, "--grace", 0)["orphans"] if each["kind"] != "lease"] == []
    return nights


def features_of(store: Location, batch: int) -> dict[str, bytes]:
    """Id → feature, as of a batch."""
    features = open_features(store.uri, batch=batch)
    rows = features.rows()
    return dict(zip(features.snapshot.ids(rows).to_pylist(), (row.tobytes() for row in features.read(rows)), strict=True))


def purge_one(store: Location, options: list[str]) -> None:
    """Erase an image that is gone: nothing of its name is left in the store."""
    index = open_features(store.uri).index()
    live = set(index.filter(~(index["status"].to_numpy() == "removed"))["id"].to_pylist())
    image = next(each["id"] for each in index.to_pylist() if each["status"] == "removed" and each["id"] not in live)
    kept = features_of(store, 2)
    purged = trunkline("purge", store, "--id", image, "--erase", *options[:2])
    assert purged["images"] == 1, purged
    assert image not in open_features(store.uri).index()["id"].to_pylist()
    assert features_of(store, 2) == kept


def table(nights: list[Night]) -> str:
    """The counts, in Markdown."""
    columns = (
        "",
        "new",
        "changed",
        "renamed",
        "removed",
        "unchanged",
        "extracted",
        "images read",
        "rows",
        "objects written",
        "MiB",
        "s",
    )
    lines = [columns, tuple("---:" if number else "---" for number in range(len(columns)))]
    for night in nights:
        seconds = night.scanned["seconds"] + night.extracted["seconds"] + sum(night.summary["seconds"].values())
        lines.append(
            (
                night.name,
                *(f"{count:,}" for count in night.expected.values()),
                f"{night.extracted['extracted']:,}",
                f"{night.images_read:,}",
                f"{night.summary['rows']:,}",
                f"{night.written['objects']:,}",
                f"{night.written['bytes'] / 2**20:.1f}",
                f"{seconds:.1f}",
            )
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@contextmanager
def endpoint_for_nights() -> Iterator[FaultyEndpoint]:
    """An endpoint that counts what is asked of it, and an environment in which it is the only one."""
    port = free_port()
    server = None
    if not ENDPOINT:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_until_it_answers(port, server)
        os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_DEFAULT_REGION="us-east-1")
    try:
        with FaultyEndpoint(ENDPOINT or f"http://127.0.0.1:{port}") as endpoint:
            os.environ.update(AWS_ENDPOINT_URL=endpoint.url, AWS_EC2_METADATA_DISABLED="true")
            yield endpoint
    finally:
        if server is not None:
            server.kill()
            server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of .jpg or .png images, at any depth")
    parser.add_argument("--count", type=int, default=1000)
    asked = parser.parse_args()
    photos = [file for folder in asked.folders for file in sorted(folder.rglob("*")) if file.suffix.lower() in IMAGES]
    photos = photos[: asked.count]
    with endpoint_for_nights() as endpoint:
        place = Location.of(f"s3://nights-{uuid.uuid4().hex}")
        filesystem("s3").call_s3("create_bucket", Bucket=place.name)
        nights = two_nights(endpoint, place, photos, ["--dataset", "photos", "--cluster", "inline"])
    sys.stdout.write(f"{len(photos):,} photos\n\n{table(nights)}\n")


if __name__ == "__main__":
    main()
