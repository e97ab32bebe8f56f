"""NCE and LEEP beside their definitions, image by image, and in cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from trunkline.probing.transfer import leep, nce


def slow_leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    n, z = probabilities.shape
    joint = {(y, k): sum(probabilities[i, k] for i in range(n) if labels[i] == y) / n for y in set(labels) for k in range(z)}
    marginal = [sum(joint[y, k] for y in set(labels)) for k in range(z)]
    likely = [sum(joint[labels[i], k] / marginal[k] * probabilities[i, k] for k in range(z)) for i in range(n)]
    return sum(math.log(each) for each in likely) / n


def entropy(labels: np.ndarray) -> float:
    shares = np.bincount(labels) / len(labels)
    return -sum(share * math.log(share) for share in shares if share)


@pytest.fixture
def guesses() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.dirichlet(np.ones(7), 60), random.integers(0, 4, 60)


def test_leep_is_the_paper_s(guesses: tuple[np.ndarray, np.ndarray]):
    assert leep(*guesses) == pytest.approx(slow_leep(*guesses))


def test_nce_is_mutual_information_less_entropy(guesses: tuple[np.ndarray, np.ndarray]):
    predicted, labels = guesses[0].argmax(axis=1), guesses[1]
    assert nce(predicted, labels) == pytest.approx(mutual_info_score(labels, predicted) - entropy(labels))


def test_classes_that_foretell_the_labels_reach_zero():
    labels = np.arange(12) % 3
    assert nce(labels + 4, labels) == pytest.approx(0.0)
    assert leep(np.eye(5)[labels], labels) == pytest.approx(0.0)


def test_one_class_for_everything_leaves_the_labels_entropy():
    labels = np.array([0, 0, 0, 1])
    assert nce(np.full(4, 2), labels) == pytest.approx(-entropy(labels))
    assert leep(np.full((4, 3), 1 / 3), labels) == pytest.approx(-entropy(labels))


def test_of_sure_predictions_leep_is_nce():
    """A one-hot prediction draws its own class: then LEEP is the mean log of P(label | class), which is NCE."""
    random = np.random.default_rng(1)
    predicted, labels = random.integers(0, 5, 50), random.integers(0, 3, 50)
    assert leep(np.eye(5)[predicted], labels) == pytest.approx(nce(predicted, labels))


def test_leep_is_never_above_zero_nor_undefined():
    zero = np.zeros((4, 3), np.float32)
    zero[:, 0] = 1.0
    assert leep(zero, np.arange(4) % 2) == pytest.approx(-math.log(2))
