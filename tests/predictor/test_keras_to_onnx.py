"""ONNX operators compute what Keras's layers compute: whole networks of the zoo, and each layer in its settings."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

from trunkline.backbones import network
from trunkline.backbones.catalogue import find
from trunkline.errors import BackboneError
from trunkline.predictor.keras_to_onnx import converted
from trunkline.predictor.onnx_graph import Graph, Value

RELATIVE = 1e-4
FAST = {"efficientnet-lite0": 64, "mobilenet-v2": 64, "resnet50": 64, "lenet-5": 32}
SLOW = {
    "efficientnet-b0": 96,
    "efficientnet-v2-b0": 96,
    "densenet121": 96,
    "vgg16": 96,
    "convnext-tiny": 96,
    "mobilenet-v3-small": 96,
    "mobilenet": 96,
    "xception": 96,
    "inception-v3": 139,
    "nasnet-mobile": 224,
    "resnet50-v2": 96,
    "googlenet": 224,
    "alexnet": 224,
}


@pytest.fixture
def keras(tensorflow: ModuleType) -> Any:
    assert tensorflow
    return importlib.import_module("keras")


def by_onnx(model: Any, pixels: np.ndarray) -> np.ndarray:
    graph = Graph()
    shape = tuple(model.inputs[0].shape[1:])
    value = Value(shape, graph.input("pixels", ["n", *shape], pixels.dtype.name), dtype=pixels.dtype.name)
    (found,) = converted(graph, model, [value])
    made = graph.model(graph.last(found), ["n", *found.shape], {})
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"pixels": pixels})[0]


def assert_equal(model: Any, pixels: np.ndarray) -> None:
    expected = np.asarray(model(pixels, training=False))
    got = by_onnx(model, pixels)
    assert got.shape == expected.shape
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(got, expected, atol=RELATIVE * np.abs(expected).max(), rtol=0)


def whole(keras: Any, name: str, size: int) -> Any:
    """The network with random weights, cut where it is cut by default, before a softmax could make everything alike."""
    backbone = find(name)
    model = network.whole(backbone, None, size)
    return keras.Model(model.inputs[0], model.get_layer(backbone.cut).output)


@pytest.mark.parametrize(
    ("name", "size"), [*FAST.items(), *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW.items())]
)
def test_networks_of_the_zoo(keras: Any, name: str, size: int):
    pixels = np.random.default_rng(0).normal(size=(3, size, size, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of sizes that weights were not published for
        model = whole(keras, name, size)
    assert_equal(model, pixels)


def _drawn(model: Any) -> Any:
    """All weights random, variances positive."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        values = random.normal(0.1, 0.5, weight.shape)
        weight.assign(np.abs(values) + 0.1 if "variance" in weight.path else values)
    return model


def _one(keras: Any, layer: Any, shape: tuple[int, ...] = (9, 11, 4)) -> Any:
    inputs = keras.Input(shape)
    return _drawn(keras.Model(inputs, layer(inputs)))


LAYERS: dict[str, Callable[[Any], Any]] = {
    "convolution, valid, strides": lambda k: k.layers.Conv2D(5, 3, strides=2, activation="relu"),
    "convolution, same, strides": lambda k: k.layers.Conv2D(5, (2, 3), strides=(2, 3), padding="same"),
    "convolution, dilated": lambda k: k.layers.Conv2D(5, 3, dilation_rate=2, padding="same", use_bias=False),
    "convolution, groups": lambda k: k.layers.Conv2D(6, 3, groups=2, activation="silu"),
    "depthwise": lambda k: k.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", strides=2, activation="gelu"),
    "separable": lambda k: k.layers.SeparableConv2D(5, 3, depth_multiplier=2, activation="elu"),
    "batch normalisation": lambda k: k.layers.BatchNormalization(),
    "batch normalisation, bare": lambda k: k.layers.BatchNormalization(scale=False, center=False),
    "layer normalisation": lambda k: k.layers.LayerNormalization(epsilon=1e-3),
    "layer normalisation, bare": lambda k: k.layers.LayerNormalization(scale=False, center=False),
    "max pooling, same": lambda k: k.layers.MaxPooling2D(3, 2, padding="same"),
    "average pooling, same": lambda k: k.layers.AveragePooling2D(3, 2, padding="same"),
    "average pooling": lambda k: k.layers.AveragePooling2D((2, 3)),
    "global average": lambda k: k.layers.GlobalAveragePooling2D(),
    "global average, kept": lambda k: k.layers.GlobalAveragePooling2D(keepdims=True),
    "global max": lambda k: k.layers.GlobalMaxPooling2D(),
    "zero padding": lambda k: k.layers.ZeroPadding2D(((1, 2), (3, 0))),
    "cropping": lambda k: k.layers.Cropping2D(((1, 2), (3, 0))),
    "rescaling": lambda k: k.layers.Rescaling([0.5, 1.0, 2.0, -1.0], offset=[1.0, 0.0, 0.0, 3.0]),
    "normalisation": lambda k: k.layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 0.5, 1.5]),
    "relu, slope and maximum": lambda k: k.layers.ReLU(max_value=0.5, negative_slope=0.1),
    "relu, maximum": lambda k: k.layers.ReLU(max_value=0.5),
    "leaky relu": lambda k: k.layers.LeakyReLU(0.3),
    "elu": lambda k: k.layers.ELU(0.7),
    "prelu": lambda k: k.layers.PReLU(),
    "prelu, shared": lambda k: k.layers.PReLU(shared_axes=[1, 2]),
    "softmax": lambda k: k.layers.Softmax(),
    "dense on a map": lambda k: k.layers.Dense(3, activation="tanh"),
    "flatten": lambda k: k.layers.Flatten(),
    "reshape": lambda k: k.layers.Reshape((11, 9, -1)),
    "permute": lambda k: k.layers.Permute((3, 1, 2)),
    "dropout": lambda k: k.layers.Dropout(0.5),
    "a sequential model inside": lambda k: k.Sequential([k.layers.Conv2D(3, 2), k.layers.ReLU(), k.layers.Flatten()]),
    **{
        f"activation {name}": lambda k, name=name: k.layers.Activation(name)
        for name in (
            "relu6",
            "sigmoid",
            "hard_sigmoid",
            "hard_silu",
            "selu",
            "softplus",
            "softsign",
            "exponential",
            "leaky_relu",
        )
    },
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(keras: Any, name: str):
    pixels = np.random.default_rng(0).normal(size=(2, 9, 11, 4)).astype(np.float32)
    assert_equal(_one(keras, LAYERS[name](keras)), pixels)
    before = keras.layers.Conv2D(4, 1)  # once more, where channels come first
    inputs = keras.Input((9, 11, 4))
    assert_equal(_drawn(keras.Model(inputs, LAYERS[name](keras)(before(inputs)))), pixels)


def test_tokens_and_vectors(keras: Any):
    tokens = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(np.float32)
    for layer in (
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.GlobalMaxPooling1D(),
        keras.layers.Dense(3, activation="softmax"),
        keras.layers.BatchNormalization(),
        keras.layers.LayerNormalization(),
    ):
        assert_equal(_one(keras, layer, (7, 5)), tokens)
    assert_equal(_one(keras, keras.layers.Dense(4, use_bias=False), (5,)), tokens[:, 0])
    assert_equal(_one(keras, keras.layers.BatchNormalization(), (5,)), tokens[:, 0])


def test_merging_layers_and_squeezes(keras: Any):
    inputs = keras.Input((8, 8, 4))
    one, two = keras.layers.Conv2D(4, 1)(inputs), keras.layers.Conv2D(4, 3, padding="same")(inputs)
    layers = keras.layers
    merged = [kind()([one, two]) for kind in (layers.Add, layers.Subtract, layers.Multiply, layers.Maximum, layers.Minimum)]
    squeezed = layers.Reshape((1, 1, 4))(layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(one)))
    merged += [layers.Multiply()([two, squeezed]), inputs]
    deep = layers.Concatenate()(merged)
    wide = layers.Concatenate(axis=1)([deep, deep])
    pixels = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    assert_equal(_drawn(keras.Model(inputs, layers.Concatenate(axis=-2)([wide, wide]))), pixels)
    flat = layers.Concatenate()([layers.Flatten()(one), layers.Flatten()(two)])
    assert_equal(_drawn(keras.Model(inputs, flat)), pixels)


def test_pixels_are_turned_and_rounded(keras: Any):
    inputs = keras.Input((6, 6, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs[..., ::-1])
    x = keras.ops.power(keras.ops.mean(keras.ops.power(keras.ops.maximum(x, 1e-6), 3.0), axis=(1, 2)), 1 / 3)
    x = keras.ops.cast(keras.ops.cast(x, "float16"), "float32")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    assert_equal(keras.Model(inputs, x), pixels)


UNKNOWN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "kind": (lambda k: k.layers.UpSampling2D(name="up"), r"The layer 'up' \(UpSampling2D\) cannot be written as ONNX"),
    "activation": (
        lambda k: k.layers.Conv2D(2, 1, activation="mish", name="c"),
        r"'c' \(Conv2D\).*the activation mish is none of",
    ),
    "axis of a batch normalisation": (lambda k: k.layers.BatchNormalization(axis=1), r"axis 1, which is not the last one"),
    "axis of a softmax": (lambda k: k.layers.Softmax(axis=1), r"axis 1, which is not the last one"),
    "threshold": (lambda k: k.layers.ReLU(threshold=0.2), r"threshold 0\.2"),
    "inverted normalisation": (lambda k: k.layers.Normalization(mean=0.0, variance=1.0, invert=True), "invert"),
    "normalisation of rows": (lambda k: k.layers.Normalization(axis=1, mean=[0.0] * 9, variance=[1.0] * 9), "not the last one"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_named(keras: Any, name: str):
    make, words = UNKNOWN[name]
    with pytest.raises(BackboneError, match=words):
        by_onnx(_one(keras, make(keras)), np.zeros((1, 9, 11, 4), np.float32))


def test_odd_operations_and_shapes_are_named(keras: Any):
    inputs = keras.Input((9, 11, 4))
    vector = keras.layers.GlobalAveragePooling2D()(inputs)
    odd = {
        "this operation is none": keras.ops.cumsum(inputs, axis=1),
        "it combines values of": keras.layers.Multiply()([inputs, vector]),
        "equal parts": keras.ops.split(inputs, 3, axis=1)[0],
        "this operation": keras.ops.mean(inputs, axis=1),
    }
    for words, output in odd.items():
        with pytest.raises(BackboneError, match=words):
            by_onnx(keras.Model(inputs, output), np.zeros((1, 9, 11, 4), np.float32))


def test_channels_first_convolutions_are_refused(keras: Any):
    inputs = keras.Input((4, 9, 11))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, data_format="channels_first")(inputs))
    with pytest.raises(BackboneError, match=r"data_format channels_first"):
        by_onnx(model, np.zeros((1, 4, 9, 11), np.float32))


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
def test_scaling_by_the_variance_is_refused(keras: Any):
    with pytest.raises(BackboneError, match=r"rms_scaling"):
        by_onnx(_one(keras, keras.layers.LayerNormalization(rms_scaling=True)), np.zeros((1, 9, 11, 4), np.float32))


def test_causal_padding_is_refused():
    class Layer:
        name, data_format, padding = "odd", "channels_last", "causal"

    from trunkline.predictor.keras_convolutions import _padding

    with pytest.raises(BackboneError, match=r"padding causal"):
        _padding(Layer(), (4, 4), (3, 3), (1, 1), (1, 1))
