"""Building apart: what the process writes and says, and a user's mistake as words with exit status 2."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from trunkline.backbones import compilation
from trunkline.backbones.backbone import Layer
from trunkline.backbones.compilation import Network, in_its_own_process
from trunkline.backbones.golden import cosines, golden_pixels, in_batches
from trunkline.backbones.network import truncated, whole
from trunkline.errors import BackboneError, RunError

pytestmark = [pytest.mark.usefixtures("tensorflow"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SIZE = 32


@pytest.fixture
def small(lite0_order):
    """An order for the default backbone on 32 x 32 pixels, in batches of 4."""

    def made(**changes):
        recipe = lite0_order.recipe.model_copy(update={"size": SIZE, **changes})
        network = lite0_order.network.model_copy(update={"size": SIZE})
        return lite0_order.model_copy(update={"recipe": recipe, "network": network, "batch": 4})

    return made


def test_it_writes_every_file_and_says_what_it_made(tmp_path, small):
    order = small(layers=("stem_relu", "avg_pool"))
    said = compilation.compile_backbone(order, tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {"model.xml", "model.bin", "model.keras", "golden.npz"}
    assert (said["batch"], said["shapes"]) == (4, {"stem_relu": (32,), "avg_pool": (1280,)})
    assert said["multiply_accumulates"] == pytest.approx(407e6 * (SIZE / 224) ** 2, rel=0.15)
    backbone = order.network.backbone
    model = truncated(whole(backbone, order.network.weights, SIZE), order.recipe, backbone.normalisation, 4)
    with np.load(tmp_path / "golden.npz") as golden:
        found = in_batches(lambda some: model(some, training=False), golden_pixels(SIZE, 4), 4)
        for layer, values in found.items():
            np.testing.assert_allclose(golden[layer], values, rtol=1e-4, atol=1e-5)


def test_the_batch_is_chosen_where_none_is_asked_for(tmp_path, small):
    order = small().model_copy(update={"batch": None})
    assert compilation.compile_backbone(order, tmp_path)["batch"] == 32


def test_mixed_float16_keeps_the_reference_in_float32(tmp_path, small):
    import keras

    try:
        compilation.compile_backbone(small(precision="mixed_float16"), tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    model = keras.models.load_model(tmp_path / "model.keras", safe_mode=True, compile=False)
    convolution = model.get_layer("network").get_layer("head_conv")
    assert (convolution.compute_dtype, convolution.variable_dtype) == ("float16", "float32")
    assert model.output["avg_pool"].dtype == "float32"
    with np.load(tmp_path / "golden.npz") as golden:
        found = in_batches(lambda some: model(some, training=False), golden_pixels(SIZE, 4), 4)["avg_pool"]
        assert not np.array_equal(found, golden["avg_pool"])
        assert cosines(found, golden["avg_pool"]).min() > 0.999


def test_weights_that_give_nan_are_refused(tmp_path, small, monkeypatch):
    from trunkline.backbones import network

    def broken(*_):
        model = whole(small().network.backbone, None, SIZE)
        layer = model.get_layer("head_conv")
        layer.set_weights([np.full_like(layer.get_weights()[0], np.nan)])
        return model

    monkeypatch.setattr(network, "whole", broken)
    with pytest.raises(BackboneError, match=r"efficientnet-lite0 gives infinity or NaN at avg_pool on the golden images"):
        compilation.compile_backbone(small(), tmp_path)


def test_the_process_tells_where_a_network_can_be_cut(tmp_path, lite0_order):
    network = Network(backbone=lite0_order.network.backbone, weights=None, size=64)
    found = compilation.Cuts.of(in_its_own_process("layers", network, tmp_path))
    assert found.layers[-2:] == [Layer("avg_pool", "GlobalAveragePooling2D", (1280,)), Layer("predictions", "Dense", (1000,))]
    assert (found.cut, found.parameters) == ("avg_pool", 4_694_024)


def test_a_users_mistake_leaves_words_and_exit_status_2(tmp_path, small, monkeypatch, capsys):
    order = small(layers=("avg_pol",))
    monkeypatch.setattr(sys, "argv", ["compilation", "compile", order.model_dump_json(), str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        compilation.main()
    assert ended.value.code == 2
    assert capsys.readouterr().out.startswith("The backbone efficientnet-lite0 has no layer 'avg_pol'.")
    assert list(tmp_path.iterdir()) == []


def test_what_the_process_says_is_written_last(tmp_path, small, monkeypatch):
    order = small()
    monkeypatch.setattr(sys, "argv", ["compilation", "compile", order.model_dump_json(), str(tmp_path)])
    compilation.main()
    assert json.loads((tmp_path / "said.json").read_text())["batch"] == 4


def test_a_failed_build_says_what_the_process_said(tmp_path, small, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    with pytest.raises(
        RunError, match=r"(?s)^Building efficientnet-lite0 failed \(exit status 1\): .*abacus.* a smaller engine\.batch"
    ):
        in_its_own_process("compile", small(), tmp_path)
