"""Every kind of source from one end to the other, as `trunkline run` goes it: the same images have the same features, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.end_to_end.conftest import StoreAt
from tests.end_to_end.kinds import KINDS, Made, Photo
from trunkline import open_features
from trunkline.locations import Location
from trunkline.reader import Features
from trunkline.stages import mistakes

FAST = ("--cluster", "inline", "--head", "softmax", "--dataset", "photos")
REMOTE = ("folder", "csv", "tar")
FILES = ("csv", "tar")  # tests/sources reads them from a bucket as well, faster
Looked = tuple[bytes | None, Any]  # a thumbnail, and what the network sees


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A local folder, or a bucket."""
    if request.param == "s3":
        bucket: Location = request.getfixturevalue("bucket")
        return bucket
    return Location.of(tmp_path)


@pytest.fixture(scope="session")
def expected() -> dict[str, bytes]:
    """Features by a photo's name, of the first kind that ran; all others are compared with these."""
    return {}


def by_name(features: Features, made: Made) -> dict[str, bytes]:
    rows = features.rows()
    ids = features.snapshot.ids(rows).to_pylist()
    return {made.name_of(name): vector.tobytes() for name, vector in zip(ids, features.read(rows), strict=True)}


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *((kind, "local") for kind in KINDS),
        *(pytest.param(kind, "s3", marks=[pytest.mark.slow] if kind in FILES else []) for kind in REMOTE),
    ],
    indirect=["place"],
)
def test_a_source_from_one_end_to_the_other(
    kind: str,
    place: Location,
    cli: Cli,
    store_at: StoreAt,
    photos: list[Photo],
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
):
    drawn: list[Looked] = []
    monkeypatch.setattr(mistakes, "_look", _remembered(mistakes._look, drawn))
    made, store = KINDS[kind](place / "source", photos), store_at(place / "store")
    ended = cli("run", *made.options, "--store", store, *FAST, "--json")
    assert ended.code == 0, ended.err
    assert (ended.json["rows"], ended.json["ok"], ended.json["extracted"]) == (70, 70, 70)
    assert Location(ended.json["report"]).read().count(b'src="data:image/jpeg') == 3 * len(
        drawn
    )  # with the heat of two classes
    assert all(thumbnail and pixels is not None for thumbnail, pixels in drawn)  # each image of the report was found again

    features = open_features(store.uri)
    index = features.index()
    found = by_name(features, made)
    assert found.keys() == {photo.name for photo in photos}
    if not expected:
        expected.update(found)
    assert found == expected

    known = {photo.name: photo for photo in photos}
    for image_id, label, split, uri in zip(*(index[name].to_pylist() for name in ("id", "label", "split", "uri")), strict=True):
        photo = known[made.name_of(image_id)]
        assert label == photo.label
        assert "split" not in made.tells or split == photo.split
        if kind != "bytes":
            assert uri == f"{place}/source/{_below(kind, made, image_id)}"

    # each later command reads images by what the manifest says of their places
    audited = cli("audit", store, "--sample", 10, "--json")
    assert audited.code == 0, audited.err
    (audit,) = audited.json["audited"]
    assert (audit["checked"], audit["equal_bits"], audit["findings"]) == (10, 10, [])
    verified = cli("verify", store, "--json")
    assert (verified.code, verified.json["findings"]) == (0, []), verified.err
    (features.feature_set.location / "commits/000000000064.parquet").remove()
    again = cli("run", "--store", store, *FAST, "--json")
    assert again.code == 0, again.err
    assert (again.json["extracted"], again.json["reused"], again.json["ok"]) == (6, 64, 70)
    assert by_name(open_features(store.uri), made) == expected


def _below(kind: str, made: Made, image_id: str) -> str:
    """Where below the source's folder an image lies."""
    if kind == "tar":
        return image_id
    return made.name_of(image_id) if kind in ("folder", "glob") else f"data/{made.name_of(image_id)}"


def _remembered(draw: Callable[..., Looked], drawn: list[Looked]) -> Callable[..., Looked]:
    def remember(*words: object, **said: object) -> Looked:
        drawn.append(draw(*words, **said))
        return drawn[-1]

    return remember
