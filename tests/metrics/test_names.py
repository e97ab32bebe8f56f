"""Figures in words."""

from __future__ import annotations

import pytest

from trunkline.metrics.names import LOWER_IS_BETTER, NAMES, NEITHER, OF_THE_TARGET, in_words


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (0.12345, "ece", "0.123"),
        (41.4786, "mae", "41.48"),
        (123456.7, "rmse", "123,457"),
        (float("nan"), "mae", "–"),
        (float("inf"), "r2", "–"),
        (None, "top5", "–"),
    ],
)
def test_figures_are_written_by_their_kind(value, name, text):
    assert in_words(value, name) == text


def test_differences_have_a_sign():
    assert [in_words(value, "accuracy", signed=True) for value in (0.01, -0.01, 0.0)] == ["+0.010", "-0.010", "0.000"]
    assert in_words(-0.0004, "accuracy", signed=True) == "0.000"
    assert in_words(3.14159, "mae", signed=True) == "+3.142"


def test_every_kind_of_figure_is_named():
    assert NAMES.keys() >= LOWER_IS_BETTER | OF_THE_TARGET | NEITHER
