"""Weights files of the classic zoo: each tensor reaches its place, and files of other networks are refused by name."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from trunkline.backbones import classic
from trunkline.backbones.classic import alexnet, googlenet
from trunkline.backbones.classic.checkpoint import Checkpoint
from trunkline.errors import BackboneError

pytestmark = [
    pytest.mark.usefixtures("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),  # Keras's own
]
FILL = {"alexnet": alexnet.fill, "googlenet": googlenet.fill}


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {"alexnet": classic.build("alexnet", 224), "googlenet": classic.build("googlenet", 32)}


@cache
def alexnet_tensors() -> dict[str, np.ndarray]:
    """Shapes as torchvision's page of AlexNet has them."""
    shapes = {
        "features.0": (64, 3, 11, 11),
        "features.3": (192, 64, 5, 5),
        "features.6": (384, 192, 3, 3),
        "features.8": (256, 384, 3, 3),
        "features.10": (256, 256, 3, 3),
        "classifier.1": (4096, 9216),
        "classifier.4": (4096, 4096),
        "classifier.6": (1000, 4096),
    }
    rng = np.random.default_rng(5)
    tensors = {f"{key}.weight": rng.random(shape, np.float32) for key, shape in shapes.items()}
    return tensors | {f"{key}.bias": rng.random(shape[0], np.float32) for key, shape in shapes.items()}


def googlenet_tensors(model: Any) -> dict[str, np.ndarray]:
    """Keys as torchvision writes them; shapes from the network, in torch's order."""
    rng = np.random.default_rng(6)
    tensors = {}
    for layer in model.layers:
        key = layer.name.rsplit("_", 1)[0].replace("_", ".")
        if layer.name.endswith("_conv"):
            height, width, inputs, outputs = layer.kernel.shape
            tensors[f"{key}.conv.weight"] = rng.random((outputs, inputs, height, width), np.float32)
        elif layer.name.endswith("_bn"):
            for part in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{key}.bn.{part}"] = rng.random(layer.gamma.shape, np.float32)
            tensors[f"{key}.bn.num_batches_tracked"] = np.array(7)
    tensors["fc.weight"], tensors["fc.bias"] = rng.random((1000, 1024), np.float32), rng.random(1000, np.float32)
    return tensors


def tensors_of(name: str, models: dict[str, Any]) -> dict[str, np.ndarray]:
    return dict(alexnet_tensors()) if name == "alexnet" else googlenet_tensors(models[name])


def test_alexnets_tensors_reach_their_places(models):
    tensors, model = alexnet_tensors(), models["alexnet"]
    alexnet.fill(model, Checkpoint("alexnet", tensors))
    kernel, bias = model.get_layer("conv4").get_weights()
    assert kernel[1, 2, 300, 200] == tensors["features.8.weight"][200, 300, 1, 2]
    np.testing.assert_array_equal(bias, tensors["features.8.bias"])
    matrix, _ = model.get_layer("fc6").get_weights()
    row, column, channel = 4, 1, 250
    assert (
        matrix[(row * 6 + column) * 256 + channel, 77] == tensors["classifier.1.weight"][77, (channel * 6 + row) * 6 + column]
    )
    matrix, _ = model.get_layer("fc7").get_weights()
    assert matrix[11, 22] == tensors["classifier.4.weight"][22, 11]


def test_googlenets_tensors_reach_their_places_and_auxiliary_ones_are_ignored(models):
    model = models["googlenet"]
    tensors = googlenet_tensors(model) | {"aux1.conv.conv.weight": np.zeros((128, 512, 1, 1)), "aux2.fc2.bias": np.zeros(1000)}
    googlenet.fill(model, Checkpoint("googlenet", tensors))
    [kernel] = model.get_layer("inception4d_branch3_1_conv").get_weights()
    assert kernel[0, 2, 31, 63] == tensors["inception4d.branch3.1.conv.weight"][63, 31, 0, 2]
    scale, shift, mean, variance = model.get_layer("conv1_bn").get_weights()
    for part, values in {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}.items():
        np.testing.assert_array_equal(values, tensors[f"conv1.bn.{part}"])
    assert len(model.weights) == len([key for key in tensors if not key.startswith("aux") and "num_batches" not in key])


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        (
            "alexnet",
            "features.6.bias",
            r"has no 'features\.6\.bias', which alexnet needs with shape \[384\]\. Did you mean features",
        ),
        (
            "googlenet",
            "inception5b.branch4.1.bn.running_var",
            r"has no 'inception5b\.branch4\.1\.bn\.running_var', which googlenet needs",
        ),
    ],
)
def test_a_missing_tensor_is_named(models, name, key, words):
    tensors = tensors_of(name, models)
    del tensors[key]
    with pytest.raises(BackboneError, match=rf"The weights file {words}.* It is not of torchvision's {name}"):
        FILL[name](models[name], Checkpoint(name, tensors))


@pytest.mark.parametrize(
    ("name", "key", "shape", "words"),
    [
        ("alexnet", "classifier.6.weight", (10, 4096), r"has shape \[10, 4096\], and alexnet needs \[1000, 4096\]"),
        ("alexnet", "features.0.weight", (64, 3, 3, 3), r"has shape \[64, 3, 3, 3\], and alexnet needs \[64, 3, 11, 11\]"),
        ("googlenet", "conv2.bn.bias", (1, 64), r"has shape \[1, 64\], and googlenet needs \[64\]"),
        ("googlenet", "fc.bias", (10,), r"has shape \[10\], and googlenet needs \[1000\]"),
    ],
)
def test_a_tensor_of_another_shape_is_named(models, name, key, shape, words):
    tensors = tensors_of(name, models) | {key: np.zeros(shape, np.float32)}
    with pytest.raises(BackboneError, match=rf"'{key}' of the weights file {words}\. It is not of torchvision's {name}"):
        FILL[name](models[name], Checkpoint(name, tensors))


@pytest.mark.parametrize("name", FILL)
def test_tensors_that_are_left_over_are_named(models, name):
    tensors = tensors_of(name, models) | {f"layer{number}.weight": np.zeros(1) for number in range(4)}
    words = rf"has 4 tensors that {name} does not know: 'layer0\.weight', 'layer1\.weight', 'layer2\.weight' …\. It is not of"
    with pytest.raises(BackboneError, match=words):
        FILL[name](models[name], Checkpoint(name, tensors))


def test_a_file_that_is_no_checkpoint_is_refused(models, tmp_path):
    path = tmp_path / "alexnet.pth"
    path.write_bytes(b"no pickle")
    with pytest.raises(BackboneError, match=r"alexnet\.pth is not a PyTorch state dict"):
        classic.load_weights(models["alexnet"], "alexnet", path)


def test_the_others_take_keras_weights(tmp_path):
    one, other = classic.build("lenet-5", 32), classic.build("lenet-5", 32)
    one.save_weights(tmp_path / "mine.weights.h5")
    classic.load_weights(other, "lenet-5", tmp_path / "mine.weights.h5")
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["missing.weights.h5", "text.weights.h5", "weights.pth", "other.weights.h5"])
def test_what_is_not_keras_weights_of_this_network_is_refused(name, tmp_path):
    import keras

    model = classic.build("lenet-5", 32)
    path = tmp_path / name
    if name == "other.weights.h5":
        keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]).save_weights(path)
    elif name != "missing.weights.h5":
        path.write_text("no weights")
    with pytest.raises(
        BackboneError, match=rf"The weights file .*{name} does not fill lenet-5 \((?s:.*)it takes those that Keras's"
    ):
        classic.load_weights(model, "lenet-5", path)
