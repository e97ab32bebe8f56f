"""The image that is meant: a path, an id, a row; and what is said where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.reading.made import Made, ids
from trunkline import open_features
from trunkline.errors import DataError, SourceError, SpecError, UnreadableImage
from trunkline.images import load
from trunkline.looking.asked import asked, unreadable
from trunkline.looking.one_image import prepared, vectors_by
from trunkline.reader import Features


@pytest.fixture
def features(finished_store: Path) -> Features:
    return open_features(finished_store)


def test_a_path_an_id_and_a_row_are_the_same_image_of_the_dataset(features: Features):
    row = int(features.rows("test")[3])
    image_id = features.snapshot.ids(np.array([row]))[0].as_py()
    path = features.dataset.source.root.path / image_id
    found = [asked(said, features) for said in (f"row:{row}", image_id, str(path), f"file://{path}")]
    assert found == [found[0]] * 4
    first = found[0]
    assert (first.name, first.title, first.row, first.uri) == (image_id, image_id, row, str(path))
    assert (first.label, first.split) == (image_id.split("/")[0], "test")
    assert first.read(features.dataset.source) == path.read_bytes()


def test_a_file_that_the_dataset_does_not_know_is_itself(features: Features, tmp_path: Path):
    inside = features.dataset.source.root.path / "0"
    path = shutil.copy2(next(inside.glob("*.png")), tmp_path / "mine.png")
    for known in (features, None):
        found = asked(str(path), known)
        assert (found.row, found.label, found.title, found.uri) == (None, None, "mine.png", str(path))
        assert found.read(features.dataset.source) == Path(path).read_bytes()


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        ("row:160", DataError, r"There is no row 160 in .*: its rows are 0 to 159\."),
        ("0/nothing.png", DataError, r"There is no file .*/0/nothing\.png, and in the dataset digits: No image has the id"),
        ("s3://user:secret@bucket/x.png", SpecError, "IMAGE The URL holds a password"),
        ("x" * 5000, DataError, "There is no file .*No image has the id"),
    ],
    ids=["row", "id", "password", "long"],
)
def test_what_is_not_there_is_said(features: Features, image: str, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        asked(image, features)


def test_rows_without_features_say_what_became_of_them(tmp_path: Path):
    made = Made(tmp_path / "store")
    made.scan(ids("apple", 100))
    made.extract(bad=frozenset({3}))
    made.scan(ids("fig", 30), removed=[5])
    made.extract()
    made.scan(ids("kiwi", 10))
    features = open_features(made.place)
    for row, what in ((3, "quarantined"), (5, "removed"), (200, "void"), (2048, "pending")):
        with pytest.raises(DataError, match=f"Row {row:,} of .* has no features: it is {what}"):
            asked(f"row:{row}", features)


def test_without_a_store_there_are_paths_only(tmp_path: Path):
    with pytest.raises(SpecError, match=r"row:5 is a row of a dataset\. Say of which: --store STORE"):
        asked("row:5", None)
    with pytest.raises(
        SourceError, match=r"There is no image at .*missing\.png\. Check the path; an id or row:N of a dataset needs --store"
    ):
        asked(str(tmp_path / "missing.png"), None)


def test_what_is_no_image_is_said_with_its_reason(features: Features, tmp_path: Path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    for name, words in (("text.png", r"text\.png cannot be read as an image: not-an-image"), ("folder.png", "unreadable")):
        with pytest.raises(SourceError, match=words):
            prepared(asked(str(tmp_path / name), None), None, features.recipe)
    image = asked(str(tmp_path / "text.png"), None)
    (tmp_path / "text.png").unlink()
    with pytest.raises(SourceError, match=r"There is no image at .*text\.png\. Check the path\."):
        prepared(image, None, features.recipe)
    assert "changed (scan again)" in str(unreadable(image, UnreadableImage("changed", "scan again")))


def test_a_new_image_gets_the_features_that_extraction_would_give(features: Features):
    from trunkline.stages.predict import backbone_of

    rows = features.rows()[:3]
    listed = features.snapshot.listed(rows).to_pylist()
    root = features.dataset.source.root.path
    pixels = np.stack([load((root / each["id"]).read_bytes(), features.recipe) for each in listed])
    vectors = vectors_by(*backbone_of(features), features.recipe, "avg_pool")
    np.testing.assert_array_equal(vectors(pixels), features.read(rows))


def test_features_that_are_not_finite_are_refused(features: Features, monkeypatch: pytest.MonkeyPatch):
    from trunkline.looking import one_image
    from trunkline.stages.predict import backbone_of

    backbone, runtime = backbone_of(features)
    vectors = vectors_by(backbone, runtime, features.recipe, "avg_pool")
    monkeypatch.setattr(one_image, "cast", lambda values, dtype: np.full(values.shape, np.inf, dtype))
    with pytest.raises(DataError, match="efficientnet-lite0 gives infinity or NaN on this image, as avg_pool in float32"):
        vectors(np.zeros((1, 224, 224, 3), np.uint8))
