"""The Pareto front, the recommendation, and the sentence that says it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trunkline.probing.ranking import CutScore, faster, front, recommended, sentence

PLAIN = CutScore("net", "net", 224, "avg", "layer", 8, 0.5, 0.0, 0.0, 0.0, 0.0, 100.0, 100.0, 32, False)


def cut(layer: str, f1: float, speed: float, spread: float = 0.0, entry: str = "net") -> CutScore:
    return replace(PLAIN, entry=entry, layer=layer, f1=f1, images_per_second=speed, spread=spread)


def test_the_front_holds_what_nothing_beats_in_both():
    best, beaten, middle, equal, fast = (
        cut("best", 0.9, 100),
        cut("beaten", 0.7, 150),
        cut("middle", 0.8, 200),
        cut("equal", 0.8, 180),
        cut("fast", 0.3, 900),
    )
    assert front([beaten, fast, best, equal, middle]) == [best, middle, fast]


@pytest.mark.parametrize("speed", [100, 50])
def test_a_front_of_one(speed: float):
    only = cut("a", 0.9, 100)
    assert front([only, cut("b", 0.9, speed), cut("c", 0.1, speed)])[0].f1 == 0.9
    assert len(front([only, cut("c", 0.1, speed)])) == 1


def test_the_fastest_within_one_standard_error_is_recommended():
    best = cut("best", 0.800, 100, spread=0.0224)  # over five folds a standard error of 0.0100
    inside, outside = cut("inside", 0.791, 150), cut("outside", 0.789, 900)
    assert recommended([outside, best, inside]) == inside
    assert recommended([outside, best]) == best


def test_what_is_much_faster_and_nearly_as_good_is_named():
    use = cut("use", 0.80, 100)
    near, slower, poorer = cut("near", 0.77, 200), cut("slower", 0.79, 140), cut("poorer", 0.74, 900)
    assert faster([use, near, slower, poorer], use) == near
    assert faster([use, slower, poorer], use) is None


def test_the_sentence():
    use, near = cut("late", 0.79, 250, spread=0.01), cut("early", 0.77, 500)
    assert sentence([use, near]) == (
        "Use net at late: macro-F1 0.790 ± 0.010 at 250 images/s; net at early is 2.0 times as fast and 0.020 lower."
    )
    assert sentence([use]) == "Use net at late: macro-F1 0.790 ± 0.010 at 250 images/s; nothing that is much faster comes near."


def test_the_sentence_names_the_best_where_another_is_recommended():
    best, use = cut("best", 0.800, 9.5, spread=0.03), cut("use", 0.795, 300, spread=0.02, entry="other")
    assert sentence([best, use]) == (
        "Use other at use: macro-F1 0.795 ± 0.020 at 300 images/s, the fastest within one standard error of the best, net at best with "
        "0.800 at 9.5; nothing that is much faster comes near."
    )
