"""Weights files of both layouts, and files that are damaged, of another network, or that lead elsewhere."""

from __future__ import annotations

import importlib

import h5py
import numpy as np
import pytest

from trunkline.backbones.keras_files import load_keras_file
from trunkline.errors import BackboneError

pytestmark = [pytest.mark.usefixtures("tensorflow"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def keras(tensorflow):  # noqa: ARG001 (it is there for its import)
    return importlib.import_module("keras")


def network(keras, width=4, last="out"):
    """A small one with each kind of layer that keeps its weights in its own way: nested, separable, normalising."""
    layers = keras.layers
    pixels = keras.Input((8, 8, 3))
    x = layers.Normalization(name="input_norm")(pixels)
    x = keras.Sequential([layers.Conv2D(width, 3, name="stem_conv"), layers.LayerNormalization(name="stem_norm")], name="stem")(
        x
    )
    x = layers.SeparableConv2D(5, 3, name="separable")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.Conv2D(6, 1, name="conv")(layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x))
    return keras.Model(pixels, layers.Dense(7, name=last)(layers.Flatten(name="flat")(x)))


@pytest.fixture
def filled(keras):
    """A network whose every value is its own."""
    model = network(keras)
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.5, 1.5, values.shape).astype(values.dtype) for values in model.get_weights()])
    model.get_layer("input_norm").finalize_state()
    return model


def write_older(model, path, folder=None):
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file.create_group(folder) if folder else file, model)
    return path


def write_keras3(model, path):
    model.save_weights(path)
    return path


WRITERS = {"older.h5": write_older, "keras3.weights.h5": write_keras3}
both = pytest.mark.parametrize("layout", WRITERS)


def load(model, path, **options):
    load_keras_file(model, path, name="net", published="https://example.org/net.h5", **options)


def assert_equal_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_refused(keras, path, match, **options):
    """With these words, and nothing was loaded."""
    model = network(keras)
    before = model.get_weights()
    with pytest.raises(BackboneError, match=match):
        load(model, path, **options)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@both
def test_what_was_written_is_read_whatever_it_is_called(keras, filled, layout, tmp_path):
    path = WRITERS[layout](filled, tmp_path / layout).rename(tmp_path / "mine")
    model = network(keras)
    load(model, path)
    assert_equal_weights(model, filled)
    pixels = np.random.default_rng(2).random((1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(pixels), filled(pixels))


def test_of_a_whole_network_saved_in_the_older_layout_the_weights_are_read(keras, filled, tmp_path):
    model = network(keras)
    load(model, write_older(filled, tmp_path / "whole.h5", "model_weights"))
    assert_equal_weights(model, filled)


def test_long_lists_of_names_are_split(keras, filled, tmp_path):
    path = write_older(filled, tmp_path / "older.h5")
    with h5py.File(path, "a") as file:
        names = list(file.attrs["layer_names"])
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:4], names[4:]
    model = network(keras)
    load(model, path)
    assert_equal_weights(model, filled)


@pytest.mark.parametrize(
    ("layout", "theirs"), [("older.h5", "'stem'"), ("keras3.weights.h5", "'layers/sequential/layers/conv2d'")]
)
def test_another_networks_file_is_refused_with_the_first_difference(keras, layout, theirs, tmp_path):
    path = WRITERS[layout](network(keras, width=9), tmp_path / layout)
    assert_refused(keras, path, rf"is not a weights file of net: the layer 'stem\w*' has 3x3x3x4.*file's {theirs} has 3x3x3x9")
    assert_refused(keras, path, r"Nothing was loaded\. Give it the file https://example\.org/net\.h5, or one that save_weights")


@both
def test_a_file_without_the_top_is_refused(keras, filled, layout, tmp_path):
    topless = keras.Model(filled.input, filled.get_layer("conv").output)
    path = WRITERS[layout](topless, tmp_path / layout)
    assert_refused(keras, path, r"it holds nothing for the layer 'out' \(6x7, 7\); is it one without the top\?")


@both
def test_a_larger_networks_file_is_refused_unless_so_many_layers_may_follow(keras, filled, layout, tmp_path):
    larger = keras.Model(filled.input, keras.layers.Dense(2, name="more")(filled.output))
    path = WRITERS[layout](larger, tmp_path / layout)
    assert_refused(keras, path, r"it holds 1 layers more than the network, from '(more|layers/dense_1)' on\.")
    assert_refused(keras, path, "it holds 1 layers more", spare=2)
    model = network(keras)
    load(model, path, spare=1)
    assert_equal_weights(model, filled)


@both
def test_values_that_are_not_finite_are_refused(keras, filled, layout, tmp_path):
    weights = filled.get_weights()
    weights[-1][3] = np.nan
    filled.set_weights(weights)
    path = WRITERS[layout](filled, tmp_path / layout)
    with pytest.raises(
        BackboneError, match=r"holds infinity or NaN at '(out|layers/dense)', so every feature would be worthless"
    ):
        load(network(keras), path)


@both
def test_half_a_file_is_refused(keras, filled, layout, tmp_path):
    path = WRITERS[layout](filled, tmp_path / layout)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert_refused(
        keras, path, r"is not a Keras weights file \(HDF5\), or is damaged \(.*\)\. Give net the file https://example"
    )


def test_what_is_no_weights_file_is_refused(keras, tmp_path):
    path = tmp_path / "file.h5"
    for content in (b"", b"PK\x03\x04 a zip", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        assert_refused(keras, path, r"is not a Keras weights file \(HDF5\), or is damaged")
    assert_refused(keras, tmp_path / "missing.h5", "is not a Keras weights file")
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros(3)
    assert_refused(keras, path, "it lists no layers with weights")


def test_where_none_is_published_none_is_named(keras, tmp_path):
    (tmp_path / "file").write_text("words")
    with pytest.raises(BackboneError, match=r"Give net one that save_weights of this network wrote"):
        load_keras_file(network(keras), tmp_path / "file", name="net")


def test_arrays_in_other_files_are_refused(keras, filled, tmp_path):
    path = write_older(filled, tmp_path / "older.h5")
    with h5py.File(path) as file:
        bias = file["out"]["out/bias" if "out/bias" in file["out"] else "out"]
        name, values = bias.name, np.asarray(bias)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["secret"] = values
    (tmp_path / "raw").write_bytes(values.tobytes())
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "secret", values.shape)

    def linked(file):
        file[name] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "secret")

    def virtual(file):
        file.create_virtual_dataset(name, layout)

    def external(file):
        file.create_dataset(name, values.shape, values.dtype, external=[(str(tmp_path / "raw"), 0, values.nbytes)])

    for plant in (linked, virtual, external):
        with h5py.File(path, "a") as file:
            del file[name]
            plant(file)
        assert_refused(keras, path, r"older\.h5 leads to another file at .*, which weights never need\. It is refused\.")


def test_what_is_not_numbers_is_refused(keras, filled, tmp_path):
    path = write_keras3(filled, tmp_path / "keras3.weights.h5")
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/1"]
        file["layers/dense/vars/1"] = np.array([b"word"] * 7)
    assert_refused(keras, path, "its 'layers/dense' holds something other than numbers")
