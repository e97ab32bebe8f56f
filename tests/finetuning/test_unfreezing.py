from __future__ import annotations

import pytest

from trunkline.errors import BackboneError
from trunkline.finetuning.unfreezing import unfrozen

LAYERS = ["stem_conv", "block7_conv", "block7_add", "block70_conv", "head_conv", "pool"]


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ("1", 1),
        ("6", 6),
        ("all", 6),
        ("0.5", 3),
        ("0.01", 1),
        ("1.0", 6),
        (".34", 3),
        ("block70", 3),
        ("block7", 5),
        ("block7_add", 4),
    ],
)
def test_what_people_say(asked, count):
    assert unfrozen(LAYERS, asked, "net") == LAYERS[-count:]


def test_more_layers_than_there_are():
    with pytest.raises(
        BackboneError, match=r"net has 6 layers up to the cut, so the last 7 cannot be unfrozen. Ask for at most 6"
    ):
        unfrozen(LAYERS, "7", "net")


def test_a_layer_that_does_not_exist():
    with pytest.raises(
        BackboneError, match=r"net has no layer or block 'blok7' .* Did you mean block7 or .* last layers are .*pool"
    ):
        unfrozen(LAYERS, "blok7", "net")
