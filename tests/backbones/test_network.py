"""The truncated network in Keras, and its compilation, on a small input."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from trunkline.backbones import compilation
from trunkline.backbones.catalogue import BATCH, find
from trunkline.backbones.golden import golden_pixels
from trunkline.backbones.network import multiply_accumulates, truncated
from trunkline.errors import BackboneError

pytestmark = [pytest.mark.usefixtures("tensorflow"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SIZE = 32
FLOWER = 985  # daisy, the nearest ImageNet class of the sample picture


@pytest.fixture(scope="module")
def small(tensorflow):  # noqa: ARG001 (it is there for its import)
    return truncated("efficientnet-lite0", ("block4_add", "avg_pool", "predictions"), SIZE)


def test_a_map_is_averaged_and_a_vector_stays(small):
    shapes = {layer: tuple(values.shape) for layer, values in small.output.items()}
    assert shapes == {"block4_add": (BATCH, 40), "avg_pool": (BATCH, 1280), "predictions": (BATCH, 1000)}


def test_a_map_averaged_by_hand_is_the_vector(small):
    pixels = golden_pixels(SIZE)
    whole = small(pixels, training=False)
    head = small.get_layer("head_relu").output
    maps = type(small)(small.input, head)(pixels, training=False).numpy()
    np.testing.assert_allclose(whole["avg_pool"].numpy(), maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole["predictions"].numpy().sum(axis=1), 1, rtol=1e-5)


def test_it_has_the_published_number_of_trainable_parameters(small):
    assert sum(int(np.prod(weight.shape)) for weight in small.trainable_weights) == 4_652_008


def test_pixels_are_normalised_inside(small):
    normal = find("efficientnet-lite0").normalisation
    layer = small.get_layer("normalised")
    pixels = np.array([[[[0, 127, 255]]]], np.uint8)
    expected = (pixels.astype(np.float32) - normal.mean) / normal.deviation
    np.testing.assert_allclose(np.asarray(layer(pixels)), expected, atol=1e-6)


def test_the_cost_of_an_image_grows_with_its_pixels_alone(small):
    larger = truncated("efficientnet-lite0", ("predictions",), 2 * SIZE)
    dense = 1280 * 1000
    assert multiply_accumulates(larger) - dense == 4 * (multiply_accumulates(small) - dense)


def test_an_unknown_layer_is_refused_with_the_near_ones_and_the_last():
    with pytest.raises(
        BackboneError, match=r"has no layer 'avg_pol'\. Did you mean avg_pool\? It has \d+; the last are: .*avg_pool"
    ):
        truncated("efficientnet-lite0", ("avg_pol",), SIZE)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(BackboneError, match="There is no backbone 'resnet'"):
        truncated("resnet", ("avg_pool",), SIZE)


def test_the_real_weights_recognise_a_flower():
    import cv2

    photo = load_sample_image("flower.jpg")
    square = cv2.resize(photo[:, 106:533], (224, 224), interpolation=cv2.INTER_LINEAR)
    model = truncated("efficientnet-lite0", ("predictions",), 224)
    probabilities = model(np.repeat(square[None], BATCH, axis=0), training=False)["predictions"].numpy()[0]
    assert probabilities.argmax() == FLOWER


def test_compilation_writes_every_file_and_says_what_it_made(tmp_path, lite0_recipe):
    recipe = lite0_recipe.model_copy(update={"size": SIZE, "layers": ("stem_relu", "avg_pool")})
    compilation.compile_backbone(recipe, tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {"model.xml", "model.bin", "model.keras", "golden.npz", "said.json"}
    said = json.loads((tmp_path / "said.json").read_text())
    assert (said["backbone"], said["size"], said["dims"]) == ("efficientnet-lite0", SIZE, {"stem_relu": 32, "avg_pool": 1280})
    assert said["multiply_accumulates"] == pytest.approx(407e6 * (SIZE / 224) ** 2, rel=0.15)
    with np.load(tmp_path / "golden.npz") as golden:
        model = truncated("efficientnet-lite0", ("stem_relu", "avg_pool"), SIZE)
        for layer, values in model(golden_pixels(SIZE), training=False).items():
            np.testing.assert_allclose(golden[layer], values.numpy(), rtol=1e-4, atol=1e-5)


def test_a_users_mistake_leaves_words_and_exit_status_2(tmp_path, lite0_recipe, monkeypatch, capsys):
    recipe = lite0_recipe.model_copy(update={"layers": ("avg_pol",), "size": SIZE})
    monkeypatch.setattr(sys, "argv", ["compilation", recipe.model_dump_json(), str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        compilation.main()
    assert ended.value.code == 2
    assert capsys.readouterr().out.startswith("The backbone efficientnet-lite0 has no layer 'avg_pol'.")
    assert list(tmp_path.iterdir()) == []
