"""Nearest neighbours are those that scikit-learn finds with all features in memory, however the rows come."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from trunkline import nearest
from trunkline.nearest import METRICS, Metric, Search

RANDOM = np.random.default_rng(0)
PIXELS = (load_digits().data + RANDOM.normal(0, 1e-2, (1797, 64))).astype(
    np.float32
)  # whole numbers are equally near too often
QUERIES = PIXELS[::97] + np.float32(0.25)


def searched(queries: np.ndarray, references: np.ndarray, k: int, metric: Metric, block: int):
    search = Search(queries, k, metric)
    for first, last in pairwise([*range(0, len(references), block), len(references)]):
        search.see(np.arange(first, last), references[first:last])
    return search.found()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("block", "inside"), [(7, 8192), (100, 33), (5000, 512)])
def test_it_is_scikit_learns_for_blocks_of_any_size(metric: Metric, block: int, inside: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nearest, "REFERENCES", inside)
    monkeypatch.setattr(nearest, "QUERIES", 5)
    theirs = NearestNeighbors(n_neighbors=9, metric=metric, algorithm="brute").fit(PIXELS.astype(np.float64))
    expected, places = theirs.kneighbors(QUERIES.astype(np.float64))
    rows, distances = searched(QUERIES, PIXELS, 9, metric, block)
    np.testing.assert_allclose(distances, expected, rtol=0, atol=1e-7)
    assert rows.tolist() == places.tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_what_float32_cannot_tell_apart_is_in_the_right_order(metric: Metric):
    rng = np.random.default_rng(0)
    steps = rng.permutation(300)
    references = np.tile(rng.normal(size=64).astype(np.float32), (300, 1)) * np.float32(1000)
    references[:, 0] += steps.astype(np.float32) * np.float32(1e-2)
    query = np.append(references[steps.argmin(), :1], references[0, 1:])[None]
    rows, distances = searched(query, references, 300, metric, 64)
    assert rows[0].tolist() == steps.argsort().tolist()
    assert (np.diff(distances[0]) >= 0).all()


def test_of_equally_near_rows_the_lower_ones_are_taken_whatever_their_number():
    references = np.ones((500, 8), np.float32)
    rows, distances = searched(np.ones((1, 8), np.float32), references, 5, "cosine", 100)
    assert rows.tolist() == [[0, 1, 2, 3, 4]]
    np.testing.assert_allclose(distances, 0, atol=1e-15)


def test_a_row_without_direction_is_as_far_as_a_right_angle():
    references = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    rows, distances = searched(np.array([[2, 0]], np.float32), references, 3, "cosine", 2)
    assert (rows.tolist(), distances.tolist()) == ([[1, 0, 2]], [[0, 1, 1]])
    assert searched(np.zeros((1, 2), np.float32), references, 3, "cosine", 2)[1].tolist() == [[1, 1, 1]]
