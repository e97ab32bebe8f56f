"""Activation maps: of the network that is cut there, from a cache that mends itself; and which layers are worth a look."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.backbones import onnx_nets
from trunkline.backbones import onnx_network
from trunkline.backbones.backbone import Layer
from trunkline.backbones.compilation import Order
from trunkline.backbones.resolution import order_of
from trunkline.errors import BackboneError, StorageError
from trunkline.looking import activations as module
from trunkline.looking.activations import activations, cache, default_layers, stage_ends
from trunkline.specs import RunSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def layer(name: str, *shape: int | None, kind: str = "ReLU") -> Layer:
    return Layer(name, kind, shape)


def test_the_last_layer_before_each_halving_is_shown():
    layers = [
        layer("stem", 112, 112, 32),
        layer("expand", 112, 112, 96),
        layer("pad", 113, 113, 96, kind="ZeroPadding2D"),
        layer("block", 56, 56, 24),
        layer("squeeze", 1, 1, 24),
        layer("valid", 54, 54, 24),
        layer("deep", 7, 7, 1280),
        layer("pool", 1280),
        layer("any", None, None, 8),
        layer("tokens", 49, 64),
    ]
    assert stage_ends(layers, 224) == ["expand", "valid", "deep"]
    many = [layer(f"at {side}", side, side, 3) for side in (1024, 512, 256, 128, 64, 32, 16, 8, 4, 2)]
    assert stage_ends(many, 1024) == [each.name for each in many[2:]]


def test_a_network_without_maps_has_nothing_to_show():
    with pytest.raises(BackboneError, match="No layer of this network gives a map of"):
        stage_ends([layer("dense", 10), layer("tokens", 49, 64)], 224)


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    folder = tmp_path_factory.mktemp("own")
    onnx.save(onnx_nets.convolutional(), folder / "net.onnx")
    (folder / "net.yaml").write_text("{size: 16, normalisation: torch}")
    return order_of(RunSpec(source="-", store="-", backbone=str(folder / "net.onnx"), layers=("any",)))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests share, so that the network is compiled once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "looks"))
    return cache()


def test_maps_are_those_of_the_network_and_are_compiled_once(order: Order, kept: Path, monkeypatch: pytest.MonkeyPatch):
    names = ["stem.relu.0", "stem.conv.0-2"]
    found = activations(order.network, order.recipe, names, PIXELS)
    assert [(each.layer, each.maps.shape) for each in found] == [("stem.relu.0", (8, 8, 6)), ("stem.conv.0-2", (8, 8, 8))]
    assert order.network.onnx is not None
    expected = onnx_network.reference(order.network.onnx, names, PIXELS[None], order.network.backbone.normalisation)
    for each in found:
        np.testing.assert_allclose(each.maps, expected[each.layer][0], rtol=1e-4, atol=1e-5)
    for made in (path for path in kept.iterdir() if path.is_dir()):
        assert sorted(path.name for path in made.iterdir()) == ["backbone.json", "model.bin", "model.xml"]
    monkeypatch.setattr(module, "in_its_own_process", None)  # nothing is compiled again
    again = activations(order.network, order.recipe, names, PIXELS)
    np.testing.assert_array_equal(again[0].maps, found[0].maps)


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ["model.bin", "backbone.json"])
def test_a_damaged_cache_is_made_anew(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = activations(order.network, order.recipe, ["stem.relu.0"], PIXELS)[0]
    (made,) = cache().iterdir()
    (made / damaged).write_bytes(b"{")
    np.testing.assert_array_equal(activations(order.network, order.recipe, ["stem.relu.0"], PIXELS)[0].maps, first.maps)
    assert json.loads((made / "backbone.json").read_text())["batch"] == 1


def test_the_default_layers_are_looked_up_once(order: Order, kept: Path, monkeypatch: pytest.MonkeyPatch):
    assert default_layers(order.network, order.recipe.weights) == ["stem.conv.0-2"]
    monkeypatch.setattr(module, "cuts", None)
    assert default_layers(order.network, order.recipe.weights) == ["stem.conv.0-2"]
    (next(kept.glob("layers-*.json"))).write_text("{")
    with pytest.raises(TypeError):
        default_layers(order.network, order.recipe.weights)  # it is asked again


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("flat", "The layer flat of net.onnx gives 8 numbers and no map"),
        ("stem.rellu.0", r"no layer 'stem\.rellu\.0'\. Did you mean stem\.relu\.0"),
    ],
)
def test_layers_without_maps_are_refused(order: Order, kept: Path, wanted: str, words: str):  # noqa: ARG001
    with pytest.raises(BackboneError, match=words):
        activations(order.network, order.recipe, [wanted], PIXELS)


@pytest.mark.slow
def test_tokens_are_no_map(tmp_path: Path, kept: Path):  # noqa: ARG001
    onnx.save(onnx_nets.tokens(), tmp_path / "net.onnx")
    (tmp_path / "net.yaml").write_text("{size: 16, normalisation: none}")
    order = order_of(RunSpec(source="-", store="-", backbone=str(tmp_path / "net.onnx"), layers=("mixed",)))
    with pytest.raises(BackboneError, match="gives 16 tokens of 10 numbers and no map"):
        activations(order.network, order.recipe, ["mixed"], PIXELS)


def test_a_cache_that_cannot_be_written_is_said(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "trunkline").write_text("a file where a folder belongs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        StorageError, match=r"The network cut at pooled cannot be kept in .*looks .*Free some space, or name another"
    ):
        activations(order.network, order.recipe, ["pooled"], PIXELS)
