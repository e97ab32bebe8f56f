"""Similar: the nearest rows of a real store, as lists and as a page; and what is said where there is none."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.reading.made import Made, ids
from tests.stores import copy_of, empty_store, objects, spec_for
from trunkline import open_features
from trunkline.errors import DataError, SourceError, SpecError, StoreError
from trunkline.specs import RunSpec
from trunkline.stages import similar as module
from trunkline.stages.scan import scan
from trunkline.stages.similar import similar


def pictures_in(page: str) -> list[Image.Image]:
    found = re.findall(r'<img class="thumb" src="data:image/jpeg;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_a_row_has_the_neighbours_that_its_features_have(finished_store: Path, tmp_path: Path):
    before = objects(finished_store)
    told = []
    receipt = similar("row:17", str(finished_store), str(tmp_path / "s.html"), k=12, progress=told.append)
    features = open_features(finished_store)
    rows, distances = features.nearest(features.read(np.array([17])), 13)
    assert rows[0, 0] == 17
    assert [each.row for each in receipt.nearest] == rows[0, 1:].tolist()
    assert [each.distance for each in receipt.nearest] == distances[0, 1:].tolist()
    assert [each.id for each in receipt.nearest] == [features.snapshot.ids(np.array([row]))[0].as_py() for row in rows[0, 1:]]
    assert [each.label for each in receipt.nearest] == [each.id.split("/")[0] for each in receipt.nearest]
    assert (receipt.row, receipt.rows, receipt.layer, receipt.metric) == (17, 159, "avg_pool", "cosine")
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 159, 159)
    page = Path(receipt.out).read_text()
    found = pictures_in(page)
    assert [each.size for each in found] == [(160, 160)] * 13
    original = Image.open(features.dataset.source.root.path / receipt.image).convert("RGB").resize((160, 160), 0)
    assert np.abs(np.asarray(found[0], float) - np.asarray(original, float)).mean() < 12, "the image itself comes first"
    assert "The 12 nearest of 159 images, by cosine distance of 1,280 features (avg_pool)" in page
    assert str(tmp_path) not in page.replace(str(finished_store), "")
    assert objects(finished_store) == before, "the store is only read"


def test_a_new_image_goes_through_the_network(finished_store: Path, tmp_path: Path):
    features = open_features(finished_store)
    row = int(features.rows("test")[2])
    image_id = features.snapshot.ids(np.array([row]))[0].as_py()
    new = shutil.copy2(features.dataset.source.root.path / image_id, tmp_path / "new.png")
    receipt = similar(str(new), str(finished_store), str(tmp_path / "s.html"), k=3, mask=True, metric="euclidean")
    assert (receipt.row, receipt.label, receipt.rows) == (None, None, 160)
    assert (receipt.nearest[0].row, receipt.nearest[0].distance) == (row, pytest.approx(0, abs=1e-4))
    page = (tmp_path / "s.html").read_text()
    assert "new.png" in page
    assert re.search(r"by euclidean distance of \d{3} of 1,280 features", page)


def test_only_among_a_split_or_a_label(finished_store: Path, tmp_path: Path):
    receipt = similar("row:0", str(finished_store), str(tmp_path / "s.html"), k=4, split="train", label=["3", "8"])
    features = open_features(finished_store)
    assert {each.row for each in receipt.nearest} <= set(features.rows("train", label=["3", "8"]).tolist())


def test_images_that_cannot_be_shown_are_said(finished_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_PICTURES", 4)
    images = shutil.copytree(finished_store.parent / "images", tmp_path / "images")
    store = copy_of(finished_store, tmp_path / "store")
    source = store / "datasets/digits/source.json"
    source.write_text(source.read_text().replace(str(finished_store.parent / "images"), str(images)))
    first = similar("row:5", str(store), str(tmp_path / "a.html"), k=6)
    assert [each.unreadable for each in first.nearest] == [""] * 4 + ["only the first 4 have pictures"] * 2
    (images / first.nearest[1].id).unlink()
    (images / first.nearest[2].id).write_bytes(b"other")
    (images / first.image).unlink()
    receipt = similar("row:5", str(store), str(tmp_path / "b.html"), k=6)
    assert [each.unreadable for each in receipt.nearest[:4]] == ["", "missing", "changed", ""]
    page = (tmp_path / "b.html").read_text()
    for words in ("4 cannot be shown.", ">missing</div>", ">changed</div>", "cannot be read any more"):
        assert words in page


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"out": "s.png"}, SpecError, r"--out .*s\.png is no \.html file"),
        ({"k": 160}, DataError, "k is 160, and only 159 rows with features are meant"),
        ({"k": 0}, DataError, "k is 0"),
        ({"metric": "cosin"}, DataError, "There is no metric 'cosin'. Did you mean cosine"),
        ({"label": "ten"}, DataError, "There is no label 'ten'"),
        ({"layer": "avg"}, DataError, "There is no layer 'avg'. Did you mean avg_pool"),
        ({"image": "row:999"}, DataError, "There is no row 999"),
        ({"image": "9/0000.png"}, DataError, "No image has the id"),
        ({"dataset": "digit"}, StoreError, "has no dataset 'digit'. Did you mean digits"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_said_and_nothing_is_written(finished_store: Path, tmp_path: Path, given, error, words):
    said = {"image": "row:0", "out": "s.html", **given}
    with pytest.raises(error, match=words):
        similar(said.pop("image"), str(finished_store), str(tmp_path / said.pop("out")), **said)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_image_leaves_no_page(finished_store: Path, tmp_path: Path):
    (tmp_path / "no.jpg").write_text("no image")
    with pytest.raises(SourceError, match=r"no\.jpg cannot be read as an image: not-an-image"):
        similar(str(tmp_path / "no.jpg"), str(finished_store), str(tmp_path / "s.html"))
    assert not (tmp_path / "s.html").exists()
    (tmp_path / "s.html").write_text("mine")
    with pytest.raises(SpecError, match=r"s\.html exists already and is left as it is"):
        similar("row:0", str(finished_store), str(tmp_path / "s.html"))
    similar("row:0", str(finished_store), str(tmp_path / "s.html"), overwrite=True)
    assert "mine" not in (tmp_path / "s.html").read_text()[:4]


def test_a_file_that_is_lost_after_it_was_found_is_said(finished_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    features = open_features(finished_store)
    new = tmp_path / "new.png"
    shutil.copy2(features.dataset.source.root.path / features.snapshot.ids(np.array([0]))[0].as_py(), new)
    nearest = module.nearest

    def losing(*given):
        new.unlink()
        return nearest(*given)

    monkeypatch.setattr(module, "nearest", losing)
    with pytest.raises(SourceError, match=r"There is no image at .*new\.png"):
        similar(str(new), str(finished_store), str(tmp_path / "s.html"), k=1)
    assert list(tmp_path.iterdir()) == []


def test_stores_without_features_or_with_several_say_so(tmp_path: Path, images: Path, compiled_lite0: Path):
    made = Made(tmp_path / "made")
    made.scan(ids("plum", 10))
    assert made.feature_set
    with pytest.raises(DataError, match=r"holds no features yet, so nothing is near\. Run `trunkline extract` first"):
        similar("row:0", str(tmp_path / "made"), str(tmp_path / "s.html"))
    assert Made(tmp_path / "made", {"other": 2}).feature_set
    with pytest.raises(StoreError, match=r"holds 2 feature sets: .* Open one of them by its own URI"):
        similar("row:0", str(tmp_path / "made"), str(tmp_path / "s.html"))
    spec: RunSpec = spec_for(images, empty_store(tmp_path / "store", compiled_lite0))
    scan(spec)
    with pytest.raises(StoreError, match="holds 0 feature sets"):
        similar("row:0", spec.store, str(tmp_path / "s.html"))
