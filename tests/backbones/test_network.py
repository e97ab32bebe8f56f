"""The truncated network in Keras: cut anywhere, pooled in every way, normalised inside."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from trunkline.backbones.backbone import BATCH, Layer, Normalisation
from trunkline.backbones.catalogue import find
from trunkline.backbones.golden import golden_pixels
from trunkline.backbones.network import batch_for, layers, multiply_accumulates, shapes, truncated, whole
from trunkline.backbones.weights import locate
from trunkline.errors import BackboneError

pytestmark = [pytest.mark.usefixtures("tensorflow"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SIZE = 32
FLOWER = 985  # daisy, the nearest ImageNet class of the sample picture
LITE0 = find("efficientnet-lite0")


@pytest.fixture(scope="module")
def lite0(tensorflow):  # noqa: ARG001 (it is there for its import)
    return whole(LITE0, locate(LITE0, None).path, SIZE)


@pytest.fixture
def cut(lite0, lite0_recipe):
    """Cut at a few layers, with a recipe's other fields as given."""

    def made(*names: str, normalisation: Normalisation = LITE0.normalisation, **changes):
        recipe = lite0_recipe.model_copy(update={"size": SIZE, "layers": names, **changes})
        return truncated(lite0, recipe, normalisation, changes.get("batch", BATCH)), recipe

    return made


def outputs(model, pixels):
    return {layer: values.numpy() for layer, values in model(pixels, training=False).items()}


def test_a_map_is_averaged_and_a_vector_stays(cut):
    model, recipe = cut("block4_add", "avg_pool", "predictions")
    found = {layer: tuple(values.shape) for layer, values in model.output.items()}
    assert found == {"block4_add": (BATCH, 40), "avg_pool": (BATCH, 1280), "predictions": (BATCH, 1000)}
    assert shapes(model, recipe) == {"block4_add": (40,), "avg_pool": (1280,), "predictions": (1000,)}


def test_every_pooling_is_what_it_says(cut):
    pixels = golden_pixels(SIZE, BATCH)
    flat, recipe = cut("block4_add", "avg_pool", pooling="none")
    maps = outputs(flat, pixels)["block4_add"].reshape(BATCH, 4, 4, 40)
    assert shapes(flat, recipe) == {"block4_add": (640,), "avg_pool": (1280,)}
    kept, recipe = cut("block4_add", pooling="none", maps="kept")
    assert shapes(kept, recipe) == {"block4_add": (4, 4, 40)}
    np.testing.assert_array_equal(outputs(kept, pixels)["block4_add"].reshape(maps.shape), maps)
    expected = {
        "avg": maps.mean(axis=(1, 2)),
        "max": maps.max(axis=(1, 2)),
        "gem": (np.maximum(maps, 1e-6).astype(np.float64) ** 3).mean(axis=(1, 2)) ** (1 / 3),
    }
    for pooling, values in expected.items():
        model, _ = cut("block4_add", pooling=pooling)
        np.testing.assert_allclose(outputs(model, pixels)["block4_add"], values, rtol=1e-4, atol=1e-5)


def test_several_layers_in_one_pass_are_each_as_alone(cut):
    pixels = golden_pixels(SIZE, BATCH)
    together = outputs(cut("stem_relu", "block4_add", "avg_pool")[0], pixels)
    for layer, values in together.items():
        np.testing.assert_allclose(values, outputs(cut(layer)[0], pixels)[layer], rtol=1e-5, atol=1e-6)


def test_it_has_the_published_number_of_trainable_parameters(lite0):
    assert sum(int(np.prod(weight.shape)) for weight in lite0.trainable_weights) == 4_652_008 == LITE0.parameters


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        (LITE0.normalisation, [(0 - 127) / 128, 0.0, 1.0]),
        (Normalisation(), [0.0, 127.0, 255.0]),
        (Normalisation(mean=(1.0, 2.0, 3.0), deviation=(1.0, 5.0, 12.0)), [-1.0, 25.0, 21.0]),
        (Normalisation(mean=(55.0, 27.0, 10.0), channels="bgr"), [200.0, 100.0, -10.0]),
    ],
    ids=["one-value", "none", "by-channel", "bgr"],
)
def test_pixels_arenormalised_inside(keras_of, normalisation, expected):
    from trunkline.backbones.network import normalised

    pixels = keras_of.Input((1, 1, 3), dtype="uint8")
    model = keras_of.Model(pixels, normalised(keras_of, pixels, normalisation))
    found = np.asarray(model(np.array([[[[0, 127, 255]]]], np.uint8)))
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)


@pytest.fixture
def keras_of(tensorflow):  # noqa: ARG001 (it is there for its import)
    import keras

    return keras


def test_float_pixels_give_what_the_same_whole_numbers_give(cut):
    pixels = golden_pixels(SIZE, BATCH)
    whole_numbers = outputs(cut("avg_pool")[0], pixels)["avg_pool"]
    np.testing.assert_array_equal(
        outputs(cut("avg_pool", pixels="float32")[0], pixels.astype(np.float32))["avg_pool"], whole_numbers
    )


def test_the_cost_of_an_image_is_the_published_one():
    model = whole(LITE0, None, 224)
    assert multiply_accumulates(model) == pytest.approx(407e6, rel=0.06)


def test_the_cost_counts_what_is_cut_alone(cut):
    assert 0 < multiply_accumulates(cut("stem_relu")[0]) < multiply_accumulates(cut("avg_pool")[0]) / 5


def test_the_layers_are_listed_in_order_with_their_shapes(lite0):
    found = layers(lite0)
    assert found[0] == Layer("stem_conv", "Conv2D", (16, 16, 32))
    assert found[-2:] == [Layer("avg_pool", "GlobalAveragePooling2D", (1280,)), Layer("predictions", "Dense", (1000,))]
    assert [each.width for each in found[-2:]] == [1280, 1000]


@pytest.mark.parametrize(
    ("shape", "batch"),
    [((7, 7, 512), 32), ((56, 56, 64), 8), ((112, 112, 96), 2), ((224, 224, 64), 1), ((2000, 2000, 64), 1), ((10,), 32)],
)
def test_large_maps_make_small_batches(shape, batch):
    assert batch_for([Layer("small", "Conv2D", (8, 8, 3)), Layer("large", "Conv2D", shape)]) == batch


def test_an_unknown_layer_is_refused_with_the_near_ones_and_the_last(cut):
    with pytest.raises(
        BackboneError, match=r"has no layer 'avg_pol'\. Did you mean avg_pool\? It has \d+; the last are: .*avg_pool"
    ):
        cut("avg_pol")


def test_random_weights_are_the_same_each_time():
    one, other = (whole(LITE0, None, SIZE) for _ in range(2))
    for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert one.get_layer("head_conv").get_weights()[0].std() > 0


def test_the_real_weights_recognise_a_flower(lite0_recipe):
    import cv2

    photo = load_sample_image("flower.jpg")
    square = cv2.resize(photo[:, 106:533], (224, 224), interpolation=cv2.INTER_LINEAR)
    recipe = lite0_recipe.model_copy(update={"layers": ("predictions",)})
    model = truncated(whole(LITE0, locate(LITE0, None).path, 224), recipe, LITE0.normalisation, 1)
    assert model(square[None], training=False)["predictions"].numpy()[0].argmax() == FLOWER
