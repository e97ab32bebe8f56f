"""The table of backbones: every name is found, and a wrong one is refused with the near ones."""

from __future__ import annotations

import re

import pytest

from trunkline.backbones.backbone import Normalisation
from trunkline.backbones.catalogue import BACKBONES, find
from trunkline.errors import BackboneError


@pytest.mark.parametrize("name", BACKBONES)
def test_each_is_found_by_its_name_and_says_what_it_is(name):
    found = find(name)
    assert found.name == name
    assert re.fullmatch(r"[a-z0-9-]+", name)  # a file's name has a dot, so none can be taken for the user's own
    assert found.width > 0
    assert found.parameters > 0
    assert found.family != "own"


def test_the_families_are_all_there():
    assert len(BACKBONES) == 3 + 40 + 5
    assert {"efficientnet-lite0", "resnet50", "vgg16", "mobilenet-v2", "alexnet", "googlenet", "lenet-5"} <= BACKBONES.keys()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("efficientnet-lite9", r"no backbone 'efficientnet-lite9'\. Did you mean efficientnet-lite"),
        ("ResNet-50", r"no backbone 'ResNet-50'\. Did you mean resnet50"),
        (
            "zzz",
            r"no backbone 'zzz'\. `trunkline backbones` lists all 48; a file of your own ends in \.onnx, \.keras or \.h5\.",
        ),
    ],
)
def test_an_unknown_one_is_refused_with_the_near_ones(name, words):
    with pytest.raises(BackboneError, match=words):
        find(name)


@pytest.mark.parametrize(
    ("normalisation", "words"),
    [
        (Normalisation(mean=127.0, deviation=128.0), "(x - 127) / 128"),
        (Normalisation(), "(x - 0) / 1"),
        (Normalisation(mean=(103.939, 116.779, 123.68), channels="bgr"), "(x - [103.939, 116.779, 123.68]) / 1, bgr"),
    ],
)
def test_a_normalisation_reads_as_it_stands_in_recipes(normalisation, words):
    assert str(normalisation) == words
