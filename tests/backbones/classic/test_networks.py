"""Each network against its paper: parameters and shapes, layer by layer, in numbers written down from the paper's table by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from trunkline.backbones import classic
from trunkline.backbones.classic.lenet import C3_SEES, centres
from trunkline.errors import BackboneError

pytestmark = [
    pytest.mark.usefixtures("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),  # Keras's own
]
BACKBONES = {backbone.name: backbone for backbone in classic.BACKBONES}
LARGE = ("overfeat-fast", "prelu-net")  # 0.6 and 0.7 GB


class Row(NamedTuple):
    layer: str
    parameters: int
    shape: tuple[int, ...]


def normalised(name: str, kernel: int, side: int, inputs: int, outputs: int) -> list[Row]:
    """A convolution without bias, and scale and shift of its normalisation."""
    shape = (side, side, outputs)
    return [Row(f"{name}_conv", kernel**2 * inputs * outputs, shape), Row(f"{name}_bn", 2 * outputs, shape)]


def inception(name: str, side: int, inputs: int, *widths: int) -> list[Row]:
    """A row of Table 1 of GoogLeNet's paper, with 3 x 3 where it has 5 x 5."""
    direct, reduced_3x3, out_3x3, reduced_5x5, out_5x5, pooled = widths
    return [
        *normalised(f"{name}_branch1", 1, side, inputs, direct),
        *normalised(f"{name}_branch2_0", 1, side, inputs, reduced_3x3),
        *normalised(f"{name}_branch2_1", 3, side, reduced_3x3, out_3x3),
        *normalised(f"{name}_branch3_0", 1, side, inputs, reduced_5x5),
        *normalised(f"{name}_branch3_1", 3, side, reduced_5x5, out_5x5),
        *normalised(f"{name}_branch4_1", 1, side, inputs, pooled),
    ]


# Trainable parameters and output of each layer, worked out from the papers' tables and not from the code.
ROWS = {
    # section II.B says every one of these numbers
    "lenet-5": [
        Row("c1_conv", 156, (28, 28, 6)),
        Row("s2_coefficient", 12, (14, 14, 6)),
        *(Row(f"c3_{number}_conv", 76, (10, 10, 1)) for number in range(6)),
        *(Row(f"c3_{number}_conv", 101, (10, 10, 1)) for number in range(6, 15)),
        Row("c3_15_conv", 151, (10, 10, 1)),
        Row("s4_coefficient", 32, (5, 5, 16)),
        Row("c5_conv", 48_120, (1, 1, 120)),
        Row("f6_dense", 10_164, (84,)),
    ],
    "alexnet": [
        Row("conv1", 64 * 3 * 121 + 64, (55, 55, 64)),
        Row("conv2", 192 * 64 * 25 + 192, (27, 27, 192)),
        Row("conv3", 384 * 192 * 9 + 384, (13, 13, 384)),
        Row("conv4", 256 * 384 * 9 + 256, (13, 13, 256)),
        Row("conv5", 256 * 256 * 9 + 256, (13, 13, 256)),
        Row("fc6", 9216 * 4096 + 4096, (4096,)),
        Row("fc7", 4096 * 4096 + 4096, (4096,)),
        Row("predictions", 4096 * 1000 + 1000, (1000,)),
    ],
    # Table 1; sides from 231: 56, pooled 28; 24, pooled 12; 12; 12; 12, pooled 6
    "overfeat-fast": [
        Row("conv1", 34_944, (56, 56, 96)),
        Row("conv2", 614_656, (24, 24, 256)),
        Row("conv3", 1_180_160, (12, 12, 512)),
        Row("conv4", 4_719_616, (12, 12, 1024)),
        Row("conv5", 9_438_208, (12, 12, 1024)),
        Row("fc6", 113_249_280, (3072,)),
        Row("fc7", 12_587_008, (4096,)),
        Row("predictions", 4_097_000, (1000,)),
    ],
    # Table 1
    "googlenet": [
        *normalised("conv1", 7, 112, 3, 64),
        *normalised("conv2", 1, 56, 64, 64),
        *normalised("conv3", 3, 56, 64, 192),
        *inception("inception3a", 28, 192, 64, 96, 128, 16, 32, 32),
        *inception("inception3b", 28, 256, 128, 128, 192, 32, 96, 64),
        *inception("inception4a", 14, 480, 192, 96, 208, 16, 48, 64),
        *inception("inception4b", 14, 512, 160, 112, 224, 24, 64, 64),
        *inception("inception4c", 14, 512, 128, 128, 256, 24, 64, 64),
        *inception("inception4d", 14, 512, 112, 144, 288, 32, 64, 64),
        *inception("inception4e", 14, 528, 256, 160, 320, 32, 128, 128),
        *inception("inception5a", 7, 832, 256, 160, 320, 32, 128, 128),
        *inception("inception5b", 7, 832, 384, 192, 384, 48, 128, 128),
        Row("predictions", 1_025_000, (1000,)),
    ],
    # Table 3, model A; slopes: one a channel. The first fully connected layer sees (49 + 9 + 4 + 1) bins of 512
    "prelu-net": [
        Row("conv1", 14_208, (112, 112, 96)),
        Row("conv1_prelu", 96, (112, 112, 96)),
        Row("conv2_1", 221_440, (56, 56, 256)),
        *(Row(f"conv2_{step}", 590_080, (56, 56, 256)) for step in range(2, 6)),
        *(Row(f"conv2_{step}_prelu", 256, (56, 56, 256)) for step in range(1, 6)),
        Row("conv3_1", 1_180_160, (28, 28, 512)),
        *(Row(f"conv3_{step}", 2_359_808, (28, 28, 512)) for step in range(2, 6)),
        *(Row(f"conv3_{step}_prelu", 512, (28, 28, 512)) for step in range(1, 6)),
        *(Row(f"conv4_{step}", 2_359_808, (14, 14, 512)) for step in range(1, 6)),
        *(Row(f"conv4_{step}_prelu", 512, (14, 14, 512)) for step in range(1, 6)),
        Row("fc1", 32_256 * 4096 + 4096, (4096,)),
        Row("fc1_prelu", 4096, (4096,)),
        Row("fc2", 4096 * 4096 + 4096, (4096,)),
        Row("fc2_prelu", 4096, (4096,)),
        Row("predictions", 4096 * 1000 + 1000, (1000,)),
    ],
}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in BACKBONES]
)
def built(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """One network at its own size, untrained; the last one is gone before the next is built."""
    return request.param, classic.build(request.param, BACKBONES[request.param].size)


def trainable(layer: Any) -> int:
    return sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights)


def test_parameters_are_as_many_as_built(built):
    name, model = built
    assert trainable(model) == BACKBONES[name].parameters


def test_layers_have_the_papers_shapes_and_parameters(built):
    name, model = built
    expected = ROWS[name]
    assert {layer.name for layer in model.layers if trainable(layer)} == {row.layer for row in expected}
    assert sum(row.parameters for row in expected) == BACKBONES[name].parameters
    for row in expected:
        layer = model.get_layer(row.layer)
        assert Row(row.layer, trainable(layer), tuple(layer.output.shape[1:])) == row


def test_the_default_cut_is_the_layer_before_the_classifier(built):
    name, model = built
    backbone = BACKBONES[name]
    assert tuple(model.get_layer(backbone.cut).output.shape) == (None, backbone.width)
    assert model.layers[-1].name == "predictions"
    assert model.input_shape == (None, backbone.size, backbone.size, 3)


def test_every_layer_can_be_cut_at(built):
    _, model = built
    for layer in model.layers[1:]:
        assert len(layer.output.shape) in (2, 4), layer.name


def test_it_gives_probabilities(built):
    _, model = built
    pixels = np.random.default_rng(1).standard_normal((2, *model.input_shape[1:]), np.float32)
    given = np.asarray(model(pixels, training=False))
    assert given.shape == (2, 10 if model.name == "lenet-5" else 1000)
    np.testing.assert_allclose(given.sum(axis=1), 1.0, rtol=1e-4)
    assert np.isfinite(given).all()
    assert np.ptp(given) > 0


def test_the_published_figures():
    assert sum(row.parameters for row in ROWS["lenet-5"]) == 60_000  # "only 60,000 trainable free parameters"
    assert sum(row.parameters for row in ROWS["alexnet"]) == 61_100_840  # torchvision's page of AlexNet
    assert sum(row.parameters for row in ROWS["overfeat-fast"]) // 10**6 == 145  # Table 4: "145 millions"
    assert sum(row.parameters for row in ROWS["googlenet"]) == 6_624_904  # torchvision's page of GoogLeNet
    # the paper gives model A no count of parameters; this is the sum of the rows above
    assert sum(row.parameters for row in ROWS["prelu-net"]) == BACKBONES["prelu-net"].parameters


def test_the_published_costs():
    """Multiply-accumulates: weights, less biases and slopes, times the pixels that they are used at."""
    lenet = sum(
        row.parameters * row.shape[0] * row.shape[1] for row in ROWS["lenet-5"] if row.layer[0] == "c" and len(row.shape) == 3
    )
    assert lenet == 122_304 + 151_600 + 48_120  # the paper's connections of C1, C3 and C5, each with its bias
    cost = dict.fromkeys(("overfeat-fast", "prelu-net"), 0)
    for name in cost:
        for row in ROWS[name]:
            if not row.layer.endswith("_prelu"):
                pixels = row.shape[0] * row.shape[1] if len(row.shape) == 3 else 1
                cost[name] += (row.parameters - row.shape[-1]) * pixels
    assert cost["overfeat-fast"] == pytest.approx(2810e6, rel=0.005)  # Table 4: 2810 million connections
    assert cost["prelu-net"] == pytest.approx(1.90e10, rel=0.005)  # Table 3: 1.90 x 10^10 operations


@pytest.mark.slow
def test_the_pyramid_takes_the_largest_of_each_bin():
    import keras

    model = classic.build("prelu-net", 224)
    last, pyramid = model.get_layer("conv4_5_prelu").output, model.get_layer("spp").output
    pixels = np.random.default_rng(2).standard_normal((1, 224, 224, 3), np.float32)
    features, found = (np.asarray(each)[0] for each in keras.Model(model.input, [last, pyramid])(pixels))
    expected = []
    for window, stride, count in ((2, 2, 7), (5, 4, 3), (7, 7, 2), (14, 14, 1)):
        for y in range(count):
            for x in range(count):
                place = features[y * stride : y * stride + window, x * stride : x * stride + window]
                expected.append(place.max(axis=(0, 1)))
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert found.shape == (63 * 512,)


def test_inception_modules_have_the_papers_widths():
    model = classic.build("googlenet", 224)
    # Table 1 of the paper: output size of each row
    expected = {
        "conv1": (112, 112, 64),
        "maxpool1": (56, 56, 64),
        "conv3": (56, 56, 192),
        "maxpool2": (28, 28, 192),
        "inception3a": (28, 28, 256),
        "inception3b": (28, 28, 480),
        "maxpool3": (14, 14, 480),
        "inception4a": (14, 14, 512),
        "inception4b": (14, 14, 512),
        "inception4c": (14, 14, 512),
        "inception4d": (14, 14, 528),
        "inception4e": (14, 14, 832),
        "maxpool4": (7, 7, 832),
        "inception5a": (7, 7, 832),
        "inception5b": (7, 7, 1024),
        "avg_pool": (1024,),
        "predictions": (1000,),
    }
    assert {name: tuple(model.get_layer(name).output.shape[1:]) for name in expected} == expected


@pytest.mark.parametrize("size", [15, 16, 32, 97, 299])
def test_googlenet_takes_other_sizes(size):
    assert classic.build("googlenet", size).get_layer("avg_pool").output.shape == (None, 1024)


def test_googlenet_refuses_what_would_vanish():
    with pytest.raises(
        BackboneError, match=r"googlenet takes images from 15 x 15 pixels on, and 14 x 14 was asked for\. .*its own is 224"
    ):
        classic.build("googlenet", 14)


@pytest.mark.parametrize("name", ["lenet-5", "alexnet", "overfeat-fast", "prelu-net"])
@pytest.mark.parametrize("more", [-1, 1])
def test_flattened_tops_refuse_other_sizes(name, more):
    own = BACKBONES[name].size
    words = (
        rf"{name} takes images of {own} x {own} pixels, and {own + more} x {own + more} was asked for\. .*Leave the size out"
    )
    with pytest.raises(BackboneError, match=words):
        classic.build(name, own + more)


def test_normalisations_are_the_papers():
    ink, background = 255.0, 0.0
    lenet = BACKBONES["lenet-5"].normalisation
    assert (background - lenet.mean) / lenet.deviation == pytest.approx(-0.1)
    assert (ink - lenet.mean) / lenet.deviation == pytest.approx(1.175)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    torchvision = BACKBONES["alexnet"].normalisation
    np.testing.assert_allclose(torchvision.mean, 255 * mean)
    np.testing.assert_allclose(torchvision.deviation, 255 * deviation)
    google = BACKBONES["googlenet"].normalisation
    pixels = np.linspace(0, 255, 7)[:, None]
    twice = (pixels / 255 - mean) / deviation * (deviation / 0.5) + (mean - 0.5) / 0.5
    np.testing.assert_allclose(np.broadcast_to((pixels - google.mean) / google.deviation, twice.shape), twice, atol=1e-12)


def test_each_map_of_s2_feeds_ten_maps_of_c3():
    assert [len(sees) for sees in C3_SEES] == [3] * 6 + [4] * 9 + [6]
    assert len(set(C3_SEES)) == 16
    assert [sum(each in sees for sees in C3_SEES) for each in range(6)] == [10] * 6


def test_the_centres_are_ten_bitmaps_far_from_one_another():
    found = centres()
    assert found.shape == (84, 10)
    assert set(np.unique(found)) == {-1.0, 1.0}
    apart = (84 - found.T @ found) / 2
    assert (apart + 84 * np.eye(10)).min() >= 5  # an 8 and a 0, for instance, differ in few dots


def test_lenet_computes_what_the_paper_says():
    """Against the paper's formulas in NumPy: subsampling, partial connections, squashing, Euclidean distances."""
    model = classic.build("lenet-5", 32)
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if layer.trainable_weights:
            layer.set_weights([rng.normal(0, 0.3, weight.shape).astype(np.float32) for weight in layer.get_weights()])
    pixels = rng.uniform(-0.1, 1.175, (32, 32, 3)).astype(np.float32)

    def weights(layer: str) -> list[np.ndarray]:
        return [each.astype(np.float64) for each in model.get_layer(layer).get_weights()]

    def squash(x: np.ndarray) -> np.ndarray:
        return 1.7159 * np.tanh(2 / 3 * x)

    def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(0, 1))
        return np.einsum("yxcij,ijco->yxo", windows, kernel) + bias

    def subsample(x: np.ndarray, layer: str) -> np.ndarray:
        coefficient, bias = weights(layer)
        four = x[0::2, 0::2] + x[1::2, 0::2] + x[0::2, 1::2] + x[1::2, 1::2]
        return squash(four * coefficient.reshape(-1) / 4 + bias)

    grey = (pixels @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    s2 = subsample(squash(convolve(grey, *weights("c1_conv"))), "s2_coefficient")
    c3 = [convolve(s2[:, :, list(sees)], *weights(f"c3_{number}_conv")) for number, sees in enumerate(C3_SEES)]
    s4 = subsample(squash(np.concatenate(c3, axis=-1)), "s4_coefficient")
    c5 = squash(convolve(s4, *weights("c5_conv"))).reshape(-1)
    kernel, bias = weights("f6_dense")
    f6 = squash(c5 @ kernel + bias)
    distances = ((f6[:, None] - centres()) ** 2).sum(axis=0)
    likelihood = np.exp(-distances + distances.min())
    np.testing.assert_allclose(np.asarray(model(pixels[None]))[0], likelihood / likelihood.sum(), atol=1e-4)


def test_lenet_keeps_what_is_fixed_out_of_training():
    model = classic.build("lenet-5", 32)
    fixed = {
        layer.name: [weight.shape for weight in layer.get_weights()] for layer in model.layers if layer.non_trainable_weights
    }
    assert fixed == {"rbf": [(84, 10)]}  # 840; the luminance has no weights at all
    np.testing.assert_array_equal(model.get_layer("rbf").get_weights()[0], centres())


def test_a_saved_network_opens_in_keras_alone(tmp_path):
    import keras

    model = classic.build("lenet-5", 32)
    model.save(tmp_path / "lenet.keras")
    pixels = np.random.default_rng(4).standard_normal((2, 32, 32, 3), np.float32)
    opened = keras.models.load_model(tmp_path / "lenet.keras", safe_mode=True)
    np.testing.assert_array_equal(np.asarray(opened(pixels)), np.asarray(model(pixels)))


def test_only_what_is_published_is_promised():
    weights = {name: backbone.weights for name, backbone in BACKBONES.items()}
    assert [name for name, published in weights.items() if published] == ["alexnet", "googlenet"]
    for published in filter(None, weights.values()):
        assert published.url.endswith(published.file)
        assert published.checksum.removeprefix("sha256:") in published.file  # torch's file names bear it
