"""From what a spec says to the network and the recipe it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.backbones.resolution import order_of, resolve
from trunkline.backbones.weights import Weights
from trunkline.errors import BackboneError
from trunkline.images import DECODER, KERAS_DECODER
from trunkline.specs import RunSpec, build_spec


def spec(**said) -> RunSpec:
    return build_spec({"source": "/images", "store": "/store"} | said, "here")


def test_the_default_recipe_keeps_its_digest():
    """New optional fields at their defaults change nothing: stores of earlier versions go on being used."""
    recipe = resolve(spec())
    assert recipe.digest() == DEFAULT
    assert (recipe.layers, recipe.size, recipe.decoder, recipe.pixels) == (("avg_pool",), 224, DECODER, "uint8")


DEFAULT = "978e73528c3623bc"


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": "max"},
        {"pooling": "none"},
        {"pooling": "none", "maps": "kept"},
        {"precision": "bf16"},
        {"weights": "random"},
        {"layers": ["head_relu"]},
        {"preparation": {"size": 128}},
        {"preparation": {"fit": "pad"}},
        {"preparation": {"antialias": True}},
        {"preparation": {"exif": "ignored"}},
        {"preparation": {"decode": "scaled"}},
        {"preparation": {"kernel": "lanczos"}},
        {"preparation": {"preset": "keras"}},
        {"backbone": "efficientnet-lite0", "layers": ["avg_pool", "head_relu"]},
    ],
)
def test_whatever_moves_a_feature_gives_another_recipe(change):
    assert resolve(spec(**change)).digest() != resolve(spec()).digest()


@pytest.mark.parametrize(
    "change", [{"runtime": "tensorflow"}, {"engine": {"batch": 4, "threads": 1}}, {"seed": 3}, {"storage": {"format": "hdf5"}}]
)
def test_what_moves_no_feature_does_not(change):
    assert resolve(spec(**change)) == resolve(spec())


def test_the_keras_preset_is_keras_pixels():
    recipe = resolve(spec(preparation={"preset": "keras", "size": 96}))
    assert (recipe.size, recipe.fit, recipe.kernel, recipe.exif) == (96, "stretch", "bilinear", "ignored")
    assert (recipe.decoder, recipe.pixels) == (KERAS_DECODER, "float32")


def test_a_layer_may_be_given_by_its_number():
    assert resolve(spec(layers=["-2", "0"])).layers == ("avg_pool", "stem_conv")
    assert resolve(spec(layers=["-2"])) == resolve(spec())


def test_a_number_out_of_range_is_refused():
    with pytest.raises(
        BackboneError, match=r"has \d+ layers, numbered 0 to \d+ or -\d+ to -1; there is no 999\. `trunkline backbones"
    ):
        resolve(spec(layers=["999"]))


def test_the_same_layer_twice_is_refused():
    with pytest.raises(BackboneError, match=r"name the same one twice: avg_pool, avg_pool"):
        resolve(spec(layers=["avg_pool", "-2"]))


def test_random_weights_are_said_to_be_random():
    order = order_of(spec(weights="random", engine={"batch": 7}))
    assert (order.network.weights, order.batch) == (None, 7)
    assert order.recipe.weights != resolve(spec()).weights


def test_untrained_networks_are_refused_unless_asked_for():
    with pytest.raises(BackboneError, match=r"Nobody publishes weights of lenet-5.*random"):
        resolve(spec(backbone="lenet-5"))
    assert resolve(spec(backbone="lenet-5", weights="random")).size == 32


def test_a_file_of_ones_own_has_its_own_weights():
    with pytest.raises(BackboneError, match=r"net\.onnx holds its own weights, and weights 'random' were given too"):
        resolve(spec(backbone="net.onnx", weights="random"))


@pytest.mark.parametrize("cut", ["", "150"])
def test_a_name_that_looks_like_a_number_is_a_name(monkeypatch, cut):
    """Older exports of ONNX name their values 0, 101, 102 and so on."""
    from trunkline.backbones import resolution
    from trunkline.backbones.backbone import Backbone, Layer, Normalisation
    from trunkline.backbones.compilation import Cuts

    backbone = Backbone(name="net.onnx", family="own", size=32, normalisation=Normalisation(), cut=cut)
    places = Cuts([Layer(str(name), "Conv", (3,)) for name in (0, 101, *range(102, 400))], cut="150", parameters=0)
    monkeypatch.setattr(resolution, "described", lambda *_: (backbone, Weights("0" * 64, Path("net.onnx"), "here")))
    monkeypatch.setattr(resolution, "cuts", lambda _: places)
    assert resolve(spec(backbone="net.onnx")).layers == ("150",)
    assert resolve(spec(backbone="net.onnx", layers=["150", "101", "5", "-1"])).layers == ("150", "101", "105", "399")


@pytest.mark.parametrize("said", [{"precision": "mixed_float16"}, {"runtime": "tensorflow"}], ids=["precision", "runtime"])
def test_what_an_onnx_network_cannot_run_on_is_refused_at_once(monkeypatch, said):
    from trunkline.backbones import resolution
    from trunkline.backbones.backbone import Backbone, Normalisation

    backbone = Backbone(name="net.onnx", family="own", size=32, normalisation=Normalisation(), cut="x")
    monkeypatch.setattr(resolution, "described", lambda *_: (backbone, Weights("0" * 64, Path("net.onnx"), "here")))
    with pytest.raises(BackboneError, match=r"net\.onnx is an ONNX network, which runs on openvino only"):
        resolve(spec(backbone="net.onnx", **said))


def test_a_users_keras_network_keeps_the_precision_it_was_saved_with(monkeypatch):
    from trunkline.backbones import resolution
    from trunkline.backbones.backbone import Backbone, Normalisation

    backbone = Backbone(name="net.keras", family="own", size=32, normalisation=Normalisation(), cut="x")
    monkeypatch.setattr(resolution, "described", lambda *_: (backbone, Weights("0" * 64, Path("net.keras"), "here")))
    with pytest.raises(
        BackboneError, match=r"net\.keras carry the precision they were saved with, so mixed_float16 would change nothing"
    ):
        resolve(spec(backbone="net.keras", precision="mixed_float16"))


@pytest.mark.parametrize("layer", ["../x", "a/b", "", ".hidden", "--", "a b", "x\n"])
def test_a_layer_whose_name_could_leave_the_store_is_refused(layer):
    with pytest.raises(BackboneError, match=r"cannot name an array: that takes letters, digits"):
        resolve(spec(layers=[layer]))
