from __future__ import annotations

import math

import pytest

from trunkline.errors import DataError
from trunkline.finetuning.history import DivergenceCheck, Epoch, Phase, best_of, has_stalled


def epoch(number: int, score: float, phase: Phase = "layers", loss: float = 1.0) -> Epoch:
    return Epoch(phase, number, 1.0, loss, score, score, 1e-3, 1.0, 10.0)


def test_the_best_is_the_first_of_the_highest_macro_f1_and_lowest_loss():
    history = [epoch(1, 0.5, "head"), epoch(1, 0.7, loss=0.9), epoch(2, 0.7, loss=0.8), epoch(3, 0.7, loss=0.8)]
    assert best_of(history) is history[2]


def test_a_phase_stalls_after_so_many_epochs_without_a_better_one():
    history = [epoch(1, 0.5, "head"), epoch(1, 0.6), epoch(2, 0.6)]
    assert not has_stalled(history, "layers", 2)
    assert has_stalled([*history, epoch(3, 0.1)], "layers", 2)
    assert not has_stalled([epoch(1, 0.9, "head"), epoch(1, 0.1), epoch(2, 0.2), epoch(3, 0.3)], "layers", 2)
    assert not has_stalled(history[:1], "layers", 1)


def test_a_loss_that_is_no_number_stops_the_fit():
    check = DivergenceCheck("layers", 0.5, math.log(3), kept="/store/x.safetensors")
    check(1, 1.0)
    with pytest.raises(
        DataError,
        match=r"the last layers diverged in epoch 2 .* rate of 0.5: its loss is no number .* kept \(/store/x.* --rate 0.05",
    ):
        check(2, math.nan)


def test_a_loss_far_above_its_start_stops_the_fit():
    check = DivergenceCheck("head", 1.0, math.log(3))
    for _ in range(20):
        check(1, 1.0)
    with pytest.raises(
        DataError, match=r"the new head diverged .* its loss rose to .* No epoch was finished.* --head-rate 0.1"
    ):
        [check(1, 50.0) for _ in range(20)]


def test_so_does_one_that_explodes_in_the_first_steps_of_few():
    check = DivergenceCheck("layers", 900.0, math.log(6))
    with pytest.raises(DataError, match=r"diverged in epoch 1 .* its loss rose to 1e\+03, and it began at 2 or below"):
        [check(1 + step // 4, loss) for step, loss in enumerate([2.0, 1e3, 1e5, 3e5, 9e5, 9e6, 9e6])]


def test_a_single_bad_step_does_not():
    check = DivergenceCheck("layers", 1.0, math.log(10))
    for step in range(100):
        check(1, 30.0 if step == 50 else 2.0)
