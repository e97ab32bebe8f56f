"""Which signs are warned of, and that ordinary photos give none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.probing.test_ranking import PLAIN
from trunkline.probing.ranking import NetworkScore
from trunkline.probing.signs import dead_share, entropies, warnings_of

SIZE = np.full(10, 300)
COLOUR = np.zeros(10, bool)
MOST = math.log(1000)
USUAL = NetworkScore("net", -1.0, -1.2, 0.2 * MOST, 0.7 * MOST, 1000)
DEFAULT = replace(PLAIN, is_default=True)


def test_nothing_is_said_of_what_is_usual():
    assert warnings_of([DEFAULT], [USUAL], COLOUR, SIZE) == []
    assert warnings_of([DEFAULT], [], COLOUR, np.zeros(10, int)) == []


def test_images_that_every_cut_tells_apart_say_so():
    easy = [replace(DEFAULT, f1=1.0), replace(DEFAULT, f1=0.995), replace(DEFAULT, f1=0.9)]
    (said,) = warnings_of(easy, [], COLOUR, SIZE)
    assert said.startswith("Too easy to tell: 2 of 3 cuts reach a macro-F1 of 0.99 or more")
    assert warnings_of(easy[1:], [], COLOUR, SIZE) == []
    assert warnings_of(easy[:1], [], COLOUR, SIZE) == []


def test_sizes_that_were_compared_are_not_proposed():
    (said,) = warnings_of([DEFAULT, replace(DEFAULT, size=96)], [], COLOUR, np.full(10, 32))
    assert said.endswith("the networks take 96 to 224, so most of what they see is interpolated.")


@pytest.mark.parametrize(
    ("changes", "sign"),
    [
        ({"grey": np.arange(10) < 6}, "Grey images: red, green and blue are equal in 60% of the sample"),
        (
            {"sides": np.full(10, 32)},
            "Small images: the median shorter side is 32 pixels, and the networks take 224,.* compare net@128",
        ),
        (
            {"cuts": [replace(DEFAULT, dead=0.7)]},
            "Dead features: 70% of the 8 features of net at layer are zero in 99% of the images",
        ),
        (
            {"networks": [replace(USUAL, marginal=0.3 * MOST)]},
            "Low entropy: net takes all these images for few of its 1,000 classes",
        ),
        ({"networks": [replace(USUAL, entropy=0.9 * MOST, marginal=MOST)]}, "High entropy: net recognises next to nothing"),
    ],
)
def test_each_sign_is_named_with_its_figure(changes: dict, sign: str):
    usual = {"cuts": [DEFAULT], "networks": [USUAL], "grey": COLOUR, "sides": SIZE}
    (said,) = warnings_of(**(usual | changes))
    import re

    assert re.match(sign, said), said


def test_dead_features_of_other_than_the_default_cut_are_no_sign():
    assert warnings_of([DEFAULT, replace(PLAIN, dead=0.9)], [USUAL], COLOUR, SIZE) == []


def test_a_feature_is_dead_where_99_images_of_100_have_zero():
    features = np.ones((200, 4), np.float32)
    features[:, 0] = 0
    features[:198, 1] = 0
    features[:197, 2] = 0
    assert dead_share(features) == 0.5


def test_entropies_of_sure_and_of_unsure_predictions():
    sure = np.eye(4, dtype=np.float32)
    assert entropies(sure) == pytest.approx((0.0, math.log(4)))
    assert entropies(np.full((6, 4), 0.25, np.float32)) == pytest.approx((math.log(4), math.log(4)))
