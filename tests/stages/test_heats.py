"""Heat beside the report's worst mistakes: of the class an image was taken for and of its own; small, and only where it is exact."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.made_heads import DIGEST, linear, mask_of, with_head, write_head
from tests.stores import copy_of
from trunkline import open_features
from trunkline.heads import artifact
from trunkline.heads.artifact import Predictions
from trunkline.heads.neighbours import Neighbours
from trunkline.heads.targets import Target
from trunkline.locations import Location
from trunkline.stages.heats import QUALITY, SIDE
from trunkline.stages.mistakes import MOST, mistakes_of

MOST_BYTES = 8 * 2**10


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def wrong_everywhere(store: Path, name: str, folder: Path) -> Location:
    """Predictions of a head that takes each image for the class after its own."""
    features = open_features(store)
    rows = features.rows("test")
    truth = np.array([int(label) for label in features.labels(rows)], np.int64)
    place = Location.of(folder / f"{name}.parquet")
    place.write(Predictions(rows, truth, (truth + 1) % 10, np.linspace(0.5, 1, len(rows))).to_bytes())
    return place


def test_each_mistake_has_the_heat_of_both_classes(store: Path, tmp_path: Path):
    head = artifact.load(with_head(store))
    assert head is not None
    found = mistakes_of(open_features(store), head, wrong_everywhere(store, "p", tmp_path))
    assert 0 < len(found) <= MOST
    for mistake in found:
        assert [heat.name for heat in mistake.heats] == [mistake.predicted, mistake.truth]
        for heat in mistake.heats:
            assert Image.open(io.BytesIO(heat.jpeg)).size == (SIDE, SIDE)
            assert len(heat.jpeg) < MOST_BYTES
        first, second = (np.asarray(Image.open(io.BytesIO(heat.jpeg)), float) for heat in mistake.heats)
        assert np.abs(first - second).mean() > 1, "two classes, two maps"
    assert QUALITY < 85


def test_an_image_that_is_gone_or_broken_has_none(store: Path, tmp_path: Path):
    images = shutil.copytree(Path(open_features(store).dataset.source.root.uri), tmp_path / "images")
    source = store / "datasets/digits/source.json"
    source.write_text(source.read_text().replace(open_features(store).dataset.source.root.uri, str(images)))
    head = artifact.load(with_head(store))
    assert head is not None
    place = wrong_everywhere(store, "p", tmp_path)
    first = mistakes_of(open_features(store), head, place)
    (images / first[0].id).unlink()
    again = mistakes_of(open_features(store), head, place)
    assert (again[0].thumbnail, again[0].heats) == (None, ())
    assert [each.heats for each in again[1:]] == [each.heats for each in first[1:]]


@pytest.mark.parametrize("lost", ["backbone", "mask", "linear"])
def test_without_the_network_the_mask_or_a_linear_head_there_is_none_and_all_else_stays(store: Path, tmp_path: Path, lost: str):
    features = open_features(store)
    if lost == "linear":
        kept = mask_of(features, store).layers["avg_pool"].kept
        x, labels = features.numpy("train", columns=kept)
        names = tuple(sorted(set(labels)))
        standard = linear(features, store).standard
        truth = np.array([names.index(each) for each in labels], np.int64)
        knn = Neighbours(standard, standard(x), truth, 3, "euclidean", Target("classes", names))
        head = artifact.load(write_head(store, features, knn, "knn", digest=DIGEST))
    else:
        head = artifact.load(with_head(store))
        shutil.rmtree(store / ("backbones" if lost == "backbone" else "masks"))
    assert head is not None
    found = mistakes_of(features, head, wrong_everywhere(store, "p", tmp_path))
    assert found
    assert all(each.heats == () and each.thumbnail for each in found)


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_labels_and_values_have_no_wrong_class(store: Path, kind: str):
    location = with_head(store, target=kind)  # type: ignore[arg-type]
    head = artifact.load(location)
    assert head is not None
    dataset, recipe = open_features(store).uri.rsplit("/", 2)[-2:]
    found = mistakes_of(
        open_features(store), head, Location.of(store / "predictions" / dataset / recipe / f"{location.name}.parquet")
    )
    assert all(each.heats == () for each in found)
