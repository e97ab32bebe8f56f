"""The table against the installed Keras, and whole networks against what `weights="imagenet"` builds and loads."""

from __future__ import annotations

import importlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from trunkline.backbones.backbone import Normalisation
from trunkline.backbones.keras_zoo import BACKBONES, NETWORKS, TORCH, build, load_weights
from trunkline.backbones.random_weights import randomise
from trunkline.errors import BackboneError

pytestmark = [pytest.mark.usefixtures("tensorflow"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
NAMES = [backbone.name for backbone in BACKBONES]
QUICK = {"mobilenet", "mobilenet-v3-small", "efficientnet-b0"}
QUICK_OR_SLOW = [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in NAMES]
BY_NAME = {backbone.name: backbone for backbone in BACKBONES}
SMALL = "mobilenet-v3-small"


@pytest.fixture(scope="module")
def keras(tensorflow):  # noqa: ARG001 (it is there for its import)
    return importlib.import_module("keras")


@pytest.fixture
def asked(monkeypatch):
    """What Keras wants to download, and the file that it gets instead: asked["gets"]."""
    found = {}

    def get_file(fname, origin, cache_subdir, file_hash=None):
        found.update(file=fname, url=origin, folder=cache_subdir, digest=file_hash)
        return found["gets"]

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    yield found
    found["gets"].unlink()  # up to 1.4 GB


def of_keras(keras, name):
    return getattr(keras.applications, NETWORKS[name][1].function)


def older_file(model, path):
    """What Keras 2 wrote, and what all published files look like."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path


def names(model):
    return [layer.name for layer in model.layers]


def normalised(pixels, normalisation: Normalisation):
    ordered = pixels[..., ::-1] if normalisation.channels == "bgr" else pixels
    return ((ordered - np.float32(normalisation.mean)) / np.float32(normalisation.deviation)).astype(np.float32)


def pixels_of(size):
    return np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.float32)


def test_every_network_of_keras_applications_is_here(keras):
    functions = {name for name in dir(keras.applications) if callable(getattr(keras.applications, name)) and name[0].isupper()}
    assert {row.function for _, row in NETWORKS.values()} == functions
    assert len(set(NAMES)) == len(NAMES) == 40


@pytest.mark.parametrize("name", QUICK_OR_SLOW)
def test_it_is_the_network_keras_builds_and_fills(name, keras, asked, tmp_path):
    backbone = BY_NAME[name]
    ours = build(name, backbone.size)
    randomise(ours)
    asked["gets"] = older_file(ours, tmp_path / "weights.h5")
    ours.set_weights([np.zeros_like(values) for values in ours.get_weights()])
    load_weights(ours, name, asked["gets"])

    keras.utils.clear_session()
    shape = (backbone.size, backbone.size, 3)
    theirs = of_keras(keras, name)(weights="imagenet", input_shape=shape)

    assert names(ours) == names(theirs)
    assert ours.count_params() == theirs.count_params() == backbone.parameters
    assert ours.get_layer(backbone.cut).output.shape[-1] == backbone.width
    pixels = pixels_of(backbone.size)
    preprocess = importlib.import_module(of_keras(keras, name).__module__).preprocess_input
    expected = np.asarray(theirs(preprocess(pixels.copy()), training=False))
    found = np.asarray(ours(normalised(pixels, backbone.normalisation), training=False))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)

    published = backbone.weights
    digest = published.checksum.split(":")[1] if published.checksum else None
    assert (published.file, published.url, digest) == (asked["file"], asked["url"], asked["digest"])
    assert asked["folder"] == "models"


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_the_one_of_its_module(name, keras):
    module = importlib.import_module(of_keras(keras, name).__module__)
    pixels = pixels_of(16)
    expected = module.preprocess_input(pixels.copy())
    assert np.abs(normalised(pixels, BY_NAME[name].normalisation) - expected).max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_folder_and_checksum_stand_in_its_module(name, keras):
    module = importlib.import_module(of_keras(keras, name).__module__)
    file = Path(module.__file__)
    if name.startswith("resnet"):  # both kinds are built in one module
        file = file.with_name("resnet.py")
    source = "".join(file.read_text().replace('"', "").split())
    family, row = NETWORKS[name]
    assert family.folder + "/" in source
    assert row.checksum is None or row.checksum.split(":")[1] in source


def test_torch_mode_is_said_in_pixels():
    assert str(TORCH) == "(x - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]"


@pytest.mark.parametrize("name", [pytest.param(each, marks=() if each == SMALL else pytest.mark.slow) for each in NAMES])
def test_the_default_cut_is_what_keras_pools_without_the_top(name, keras):
    size = BY_NAME[name].size
    pooled = of_keras(keras, name)(weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3))
    assert pooled.output_shape == (None, BY_NAME[name].width)


@pytest.mark.parametrize("name", NAMES)
def test_smaller_images_than_keras_takes_are_refused(name, keras):
    least = NETWORKS[name][0].least
    with pytest.raises(ValueError, match="at least"):
        of_keras(keras, name)(weights=None, input_shape=(least - 1, least - 1, 3))
    with pytest.raises(BackboneError, match=rf"^{name} needs images of at least {least} pixels a side, and {least - 1} was"):
        build(name, least - 1)


@pytest.mark.parametrize("name", QUICK_OR_SLOW)
def test_the_smallest_images_pass_through(name):
    least = NETWORKS[name][0].least
    model = build(name, least)
    assert np.isfinite(np.asarray(model(np.zeros((1, least, least, 3), np.float32), training=False))).all()


def test_names_do_not_depend_on_what_was_built_before(keras):
    first = names(build(SMALL, 32))
    keras.layers.Activation("relu")
    keras.layers.Rescaling(2.0)
    build("mobilenet-v3-large", 32)
    assert names(build(SMALL, 32)) == first
    assert "activation" in first


def test_the_callers_names_and_policy_are_left_alone(keras):
    before = keras.layers.Activation("relu").name
    build(SMALL, 32)
    after = keras.layers.Activation("relu").name
    assert after == f"activation_{int(before.rpartition('_')[2] or 0) + 1 if '_' in before else 1}"
    assert keras.config.dtype_policy().name == "float32"


def test_the_callers_policy_holds_in_the_network(keras):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(SMALL, 32)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("conv").compute_dtype == "float16"
    assert model.get_layer("conv").kernel.dtype == "float32"


def test_vgg_at_another_size_ends_at_its_last_map():
    model = build("vgg16", 64)
    assert model.output_shape == (None, 2, 2, 512)
    assert names(model)[-1] == "block5_pool"


def test_a_file_with_the_top_fills_vgg_without(keras, tmp_path):
    model = build("vgg16", 64)
    x = keras.layers.Flatten(name="flatten")(model.output)
    for name in ("fc1", "fc2", "predictions"):
        x = keras.layers.Dense(3, name=name)(x)
    topped = keras.Model(model.input, x)
    expected = model.get_weights()
    for number, path in enumerate((older_file(topped, tmp_path / "old.h5"), tmp_path / "new.weights.h5")):
        if number:
            topped.set_weights([values + 1 for values in topped.get_weights()])
            expected = model.get_weights()
            topped.save_weights(path)
        model.set_weights([np.zeros_like(values) for values in expected])
        load_weights(model, "vgg16", path)
        for found, wanted in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_file_of_vgg19_does_not_fill_vgg16(tmp_path):
    other = older_file(build("vgg19", 32), tmp_path / "vgg19.h5")
    with pytest.raises(
        BackboneError, match=r"vgg19\.h5 is not a weights file of vgg16: the layer 'block4_conv1' has 3x3x256x512"
    ):
        load_weights(build("vgg16", 32), "vgg16", other)


def test_the_published_file_is_named_where_another_was_given(tmp_path):
    path = Path(tmp_path / "words.h5")
    path.write_text("no weights")
    with pytest.raises(
        BackboneError, match=r"Give mobilenet-v3-small the file https://storage\.googleapis\.com/.*_1\.0_float\.h5, or"
    ):
        load_weights(build(SMALL, 32), SMALL, path)
