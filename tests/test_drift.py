"""Drift of a batch: the size of a shift, whatever the size of the batch; and no alarm where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline import drift
from trunkline.drift import BatchDrift, Reference
from trunkline.moments import Moments

DIM = 40


def drawn(rows: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Features that move together, as a network's do: eight independent ones mixed, of very different scales."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(8, DIM))
    scale = 10.0 ** np.linspace(-3, 3, DIM)
    x = rng.normal(size=(rows, 8)) @ mixing
    return ((x / np.linalg.norm(mixing, axis=0) + shift) * scale + 5 * scale).astype(np.float32)


TRAINED = Moments.of(drawn(20_000, 1))
REFERENCE = Reference(TRAINED.count, TRAINED.mean, TRAINED.variance, np.ones(DIM, bool))


def measured(x: np.ndarray, limit: float = 0.5, inside: bool = False, reference: Reference = REFERENCE) -> BatchDrift:
    return drift.batch_drift(3, Moments.of(x), reference, inside=inside, limit=limit)


@pytest.mark.parametrize("rows", [50, 1000, 20_000])
@pytest.mark.parametrize("shift", [0.3, 1.0, -2.0])
def test_it_is_the_shift_in_standard_deviations(rows, shift):
    found = [measured(drawn(rows, seed, shift)).overall for seed in range(2, 42)]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(abs(shift), rel=0.12)


@pytest.mark.parametrize("rows", [1, 2, 5, 30, 1000])
def test_what_chance_explains_is_taken_off(rows):
    """Over many batches without drift the squares of shifts are their expectation, which is why it may be taken off."""
    squares = [np.square(drift.shifts(Moments.of(drawn(rows, seed)), REFERENCE)).mean() for seed in range(100, 400)]
    assert np.mean(squares) == pytest.approx(1 / rows + 1 / 20_000, rel=0.15)


@pytest.mark.parametrize("rows", [1, 2, 5, 30, 1000])
def test_batches_without_drift_hardly_ever_warn(rows):
    found = [measured(drawn(rows, seed)) for seed in range(100, 400)]
    assert sum(each.warned for each in found) <= 3
    assert np.median([each.overall for each in found]) <= 1 / np.sqrt(rows)


@pytest.mark.parametrize("rows", [20, 1000])
def test_batches_that_drifted_warn(rows):
    assert all(measured(drawn(rows, seed, 1.0)).warned for seed in range(2, 22))
    assert not any(measured(drawn(rows, seed, 1.0), limit=2.0).warned for seed in range(2, 22))


def test_part_of_the_reference_has_less_chance_to_move_and_never_warns():
    """Two halves of the reference lie equally far on either side of its mean; the whole of it does not move at all."""
    x = np.concatenate([drawn(100, 5), drawn(100, 6, 3.0)])
    whole = Moments.of(x)
    reference = Reference(200, whole.mean, whole.variance, np.ones(DIM, bool))
    halves = [measured(part, inside=True, reference=reference) for part in (x[:100], x[100:])]
    assert halves[0].overall == pytest.approx(halves[1].overall)
    assert halves[0].overall > 0.7
    assert not any(half.warned for half in halves)
    assert measured(x, inside=True, reference=reference).overall == 0.0
    squares = []
    for seed in range(300):
        some = drawn(20, 1000 + seed)
        together = Moments.of(some)
        reference = Reference(20, together.mean, together.variance, np.ones(DIM, bool))
        squares.append(np.square(drift.shifts(Moments.of(some[:10]), reference)).mean())
    assert np.mean(squares) == pytest.approx(1 / 10 - 1 / 20, rel=0.2)


def test_only_features_that_are_kept_count_and_the_worst_are_named():
    x = drawn(20_000, 1)
    deviation = np.sqrt(TRAINED.variance)
    x[:, 7] += 4 * deviation[7]
    x[:, 9] -= 3 * deviation[9]
    x[:, 30] += 100 * deviation[30]
    kept = np.ones(DIM, bool)
    kept[30] = False
    found = measured(x, reference=Reference(TRAINED.count, TRAINED.mean, TRAINED.variance, kept))
    assert (found.batch, found.rows, len(found.worst)) == (3, 20_000, 5)
    assert [number for number, _ in found.worst[:2]] == [7, 9]
    assert [shift for _, shift in found.worst[:2]] == pytest.approx([4, -3], rel=1e-3)
    assert found.overall == pytest.approx(np.sqrt((16 + 9) / (DIM - 1)), rel=1e-3)


def test_a_feature_that_never_varies_and_is_not_kept_divides_nothing_by_zero():
    x = drawn(50, 1)
    x[:, 0] = 1.0
    moments = Moments.of(x)
    found = measured(drawn(50, 2), reference=Reference(50, moments.mean, moments.variance, moments.variance > 0))
    assert np.isfinite(found.overall)


def test_the_warning_says_which_batch_how_far_and_what_to_do():
    found = BatchDrift(4, 1204, 0.834, ((17, -2.31), (3, 1.0)), warned=True)
    said = drift.warning(found, 0.5)
    assert said.startswith(
        "Batch 4 (1,204 training images) has drifted by 0.83 standard deviations from the images that the mask"
    )
    assert "(drift_warning is 0.5; feature 17 moved most, by -2.3)" in said
    assert "`trunkline select --refit` and `trunkline fit`" in said
