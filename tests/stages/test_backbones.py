"""Which backbones there are, and where each can be cut."""

from __future__ import annotations

import pytest

from trunkline.backbones.backbone import Layer
from trunkline.errors import BackboneError
from trunkline.stages.backbones import catalogue, describe, flat


def test_the_catalogue_tells_where_weights_are(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = {each["backbone"]: each for each in catalogue()}
    assert len(found) == 48
    assert found["efficientnet-lite0"] == {
        "backbone": "efficientnet-lite0",
        "parameters": 4_652_008,
        "size": 224,
        "cut": "avg_pool",
        "width": 1280,
        "weights": "here",
    }
    assert {name: found[name]["weights"] for name in ("resnet50", "lenet-5")} == {
        "resnet50": "download",
        "lenet-5": "none",
    }


def test_a_backbone_tells_where_it_can_be_cut_without_its_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    said = describe("mobilenet-v2", 96).summary()
    assert (said["backbone"], said["size"], said["parameters"]) == ("mobilenet-v2", 96, 3_538_984)
    lines = {line["layer"]: line for line in said["layers"]}
    assert lines["out_relu"] | {"number": 0} == {
        "number": 0,
        "layer": "out_relu",
        "kind": "ReLU",
        "shape": (3, 3, 1280),
        "pooled": 1280,
        "flat": 11_520,
    }
    assert [line["number"] for line in said["layers"]] == list(range(len(said["layers"])))
    assert said["cut"] in lines


def test_an_unknown_one_is_refused():
    with pytest.raises(BackboneError, match=r"no backbone 'vgg61'\. Did you mean vgg1"):
        describe("vgg61")


@pytest.mark.parametrize(("shape", "features"), [((7, 7, 512), 25_088), ((1280,), 1280), ((None, None, 64), None)])
def test_un_pooled_features_are_counted_where_the_size_is_known(shape, features):
    assert flat(Layer("x", "Conv2D", shape)) == features
