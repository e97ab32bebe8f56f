"""The nearest rows of a real store are those of scikit-learn; and what cannot be asked is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tests.reading.made import Made
from trunkline import open_features
from trunkline.errors import DataError
from trunkline.reading import nearest as module


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("choice", [{}, {"split": "train"}, {"mask": True}, {"label": ["1", "7"]}], ids=str)
def test_real_features_have_the_neighbours_that_scikit_learn_finds(finished_store: Path, metric, choice, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)  # a shard at a time
    features = open_features(finished_store)
    x, rows = features.numpy(**choice)[0], features.rows(**{name: choice[name] for name in choice if name != "mask"})
    queries = features.read(features.rows("test"))
    asked = queries[:, features.view(mask=True).columns] if choice.get("mask") else queries
    theirs = NearestNeighbors(n_neighbors=7, metric=metric, algorithm="brute").fit(x.astype(np.float64))
    expected, places = theirs.kneighbors(asked.astype(np.float64))
    found, distances = features.nearest(queries, 7, metric=metric, **choice)
    np.testing.assert_allclose(distances, expected, atol=1e-6)
    assert found.tolist() == rows[places].tolist()
    assert features.nearest(asked, 7, metric=metric, **choice)[0].tolist() == found.tolist()


def test_blocks_are_told_of_as_they_are_seen(fruit: Made, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    features = open_features(fruit.place)
    seen: list[int] = []
    view = features.view(layer="late")
    rows, _ = module.nearest(view, features.read(np.array([10]), "late"), 1, "euclidean", seen.append)
    assert rows.tolist() == [[10]]
    assert seen == [62, 125, 147, 177]


@pytest.mark.parametrize(
    ("vectors", "given", "words"),
    [
        (
            np.ones((1, 6)),
            {"metric": "cosines"},
            "There is no metric 'cosines'. Did you mean cosine.* There are: cosine, euclidean",
        ),
        (np.ones((1, 6)), {"k": 0}, "k is 0: at least 1"),
        (np.ones((1, 6)), {"k": 178}, "k is 178, and only 177 rows with features are meant. Ask for fewer"),
        (np.ones((1, 6)), {"k": 51, "label": "pear"}, "k is 51, and only 50 rows"),
        (np.ones((1, 5)), {"k": 1}, r"vectors= is float64 of shape \(1, 5\); pool takes floats of shape \(n, 6\)\."),
        (np.ones((1, 4)), {"k": 1, "columns": np.arange(6) < 2}, r"of shape \(n, 6\), or \(n, 2\) of the chosen columns"),
        (np.ones(6), {"k": 1}, r"of shape \(6,\)"),
        (np.ones((1, 6), int), {"k": 1}, "vectors= is int64"),
        (np.full((1, 6), np.nan), {"k": 1}, "vectors= holds NaN or infinity"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_said(fruit: Made, vectors, given, words):
    with pytest.raises(DataError, match=words):
        open_features(fruit.place).nearest(vectors, **{"k": 1, **given})
