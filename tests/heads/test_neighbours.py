"""Nearest neighbours: scikit-learn's, by blocks of any size; ties; what is saved."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from tests.heads.made import CLASSES, DIGITS, LABELS, PIXELS, TRAINING, VALUE, data_of, truth_as
from trunkline import nearest
from trunkline.errors import CorruptStore
from trunkline.fan_out import SerialExecutor
from trunkline.heads import neighbours
from trunkline.heads.neighbours import FILE, Neighbours, fit_neighbours, nearest_of
from trunkline.heads.protocol import Work
from trunkline.specs import NeighboursSpec

HERE = SerialExecutor(threads=1)


def head_of(target=CLASSES, **settings) -> Neighbours:
    return fit_neighbours(NeighboursSpec(**settings), data_of(target), Work(HERE))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("target", [CLASSES, LABELS, VALUE])
def test_it_is_scikit_learns(target, metric):
    mine = head_of(target, k=7, metric=metric)
    x = mine.standard(PIXELS)
    kind = KNeighborsClassifier if target.kind == "classes" else KNeighborsRegressor
    theirs = kind(7, metric=metric, algorithm="brute").fit(x[:TRAINING], truth_as(target, DIGITS)[:TRAINING])
    expected = theirs.predict_proba(x) if target.kind == "classes" else theirs.predict(x).reshape(len(x), -1)
    np.testing.assert_allclose(mine.outputs(PIXELS), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_of_any_size_find_the_same(metric, monkeypatch):
    mine = head_of(k=5, metric=metric)
    expected = mine.outputs(PIXELS)
    monkeypatch.setattr(nearest, "REFERENCES", 37)
    monkeypatch.setattr(neighbours, "QUERIES", 41)
    np.testing.assert_array_equal(mine.outputs(PIXELS), expected)


@pytest.mark.parametrize("block", [2, 3, 100])
def test_of_equally_near_rows_the_first_ones_are_taken(block, monkeypatch):
    monkeypatch.setattr(nearest, "REFERENCES", block)
    references = np.array([[9, 0], [1, 0], [1, 0], [0, 9], [1, 0], [1, 0], [1, 0]], np.float32)
    found = nearest_of(np.array([[1, 0], [0, 9]], np.float32), references, 3, "euclidean")
    assert found.tolist() == [[1, 2, 4], [3, 1, 2]]


def test_more_neighbours_than_images_are_all_of_them_and_it_is_said():
    head = fit_neighbours(NeighboursSpec(k=50), data_of(rows=np.arange(20)), Work(HERE))
    assert head.notes == ("k is 50, and there are only 20 training images: all of them vote.",)
    shares = np.bincount(DIGITS[:20], minlength=10) / 20
    np.testing.assert_allclose(head.outputs(PIXELS[:3]), np.tile(shares, (3, 1)))


def test_a_row_without_direction_has_neighbours_too():
    head = head_of(k=3)
    blank = np.asarray(head.standard.mean)[None, :]
    assert head.outputs(blank).sum() == pytest.approx(1)


def test_all_candidates_share_one_search(monkeypatch):
    searches = []
    search = neighbours.nearest_of
    monkeypatch.setattr(neighbours, "nearest_of", lambda *given: searches.append(given[2]) or search(*given))
    head = head_of(k=[1, 3, 9])
    assert searches == [9, 9, 9]  # once a fold
    assert [each.settings for each in head.candidates] == [{"k": "1"}, {"k": "3"}, {"k": "9"}]
    alone = [head_of(k=[k, 9]).candidates[0].score for k in (1, 3)]
    assert [each.score for each in head.candidates[:2]] == alone


def changed(**arrays: np.ndarray) -> dict[str, bytes]:
    head = head_of(k=3)
    found = {**load(head.files()[FILE]), **arrays}
    metadata = {"head": '{"k": 3, "metric": "cosine", "target": "classes"}'}
    return {FILE: save({name: each for name, each in found.items() if each.size}, metadata)}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"truth": np.full(TRAINING, 10)}, "truth that is none of 10 outputs"),
        ({"truth": np.full(TRAINING, -1)}, "truth that is none of 10 outputs"),
        ({"truth": np.zeros(TRAINING, np.float32)}, "truth that is none of 10 outputs"),
        ({"truth": np.zeros(7, np.int64)}, "truth that is none of 10 outputs"),
        ({"mean": np.zeros(63, np.float32)}, "arrays that do not fit together"),
        ({"deviation": np.zeros(64, np.float32)}, "arrays that do not fit together"),
        ({"references": np.full((TRAINING, 64), np.nan, np.float32)}, "a setting or array that is none of such a head"),
        ({"references": np.zeros((TRAINING, 64))}, "a setting or array that is none of such a head"),
        ({"references": np.zeros(64, np.float32)}, "not enough values to unpack"),
        ({"mean": np.zeros(0, np.float32)}, "'mean'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, words):
    with pytest.raises(CorruptStore, match=rf"neighbours\.safetensors of the saved head is damaged \(.*{words}"):
        Neighbours.load(changed(**arrays), CLASSES)
    assert Neighbours.load(changed(), CLASSES).k == 3
