"""Keras files of strangers: whole models come back equal and can be cut anywhere inside; what could run code or read files is refused."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from trunkline.backbones import own_keras_files
from trunkline.backbones.importing import import_keras
from trunkline.backbones.own_keras import default_cut, load
from trunkline.errors import BackboneError

SIZE = 16
IMAGES = np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)

pytestmark = pytest.mark.usefixtures("tensorflow")


def saved(network: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that HDF5 is old
        network.save(path)
    return path


def sequential() -> Any:
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(5, name="classes"),
            layers.Activation("softmax", name="softmax"),
        ]
    )


def nested() -> Any:
    """A compiled functional model inside a functional one, with a sequential one, a name in both, a shared layer and arithmetic."""
    keras = import_keras()
    layers = keras.layers
    image = keras.Input((SIZE, SIZE, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    inside = layers.Conv2D(6, 3, name="conv")(shared(shared(image)))
    base = keras.Model(image, layers.BatchNormalization(name="norm")(inside), name="base")
    base.compile("adam", "mse")
    top = keras.Sequential(
        [keras.Input((SIZE - 2, SIZE - 2, 6)), layers.Conv2D(2, 1, name="conv"), layers.ReLU(name="relu")], name="top"
    )
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    normalised = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0], name="normalised")(pixels)
    values = top(base(normalised)) * 2.0 + 1.0
    return keras.Model(pixels, layers.Dense(3, name="classes")(layers.Flatten(name="flat")(values)), name="whole")


def randomised(network: Any) -> Any:
    random = np.random.default_rng(1)
    network.set_weights([np.abs(random.normal(size=each.shape)) + 0.1 for each in network.get_weights()])
    return network


@pytest.mark.parametrize("ending", ["keras", "h5", "KERAS", "H5"])
def test_a_sequential_model_comes_back(tmp_path, ending):
    network = sequential()
    path = saved(network, tmp_path / f"net.{ending.lower()}").rename(tmp_path / f"Net.{ending}")
    whole = load(path, SIZE)
    np.testing.assert_array_equal(whole(IMAGES), network(IMAGES))
    assert [layer.name for layer in whole.layers[1:]] == ["conv", "pool", "drop", "classes", "softmax"]
    assert default_cut(whole) == "pool"
    cut = import_keras().Model(whole.input, whole.get_layer("pool").output)
    assert cut(IMAGES).shape == (3, 4)


def test_inner_models_are_laid_out_flat(tmp_path):
    network = randomised(nested())
    path = saved(network, tmp_path / "net.keras")
    whole = load(path, SIZE)
    np.testing.assert_allclose(whole(IMAGES, training=False), network(IMAGES, training=False), rtol=1e-5, atol=1e-4)
    names = [layer.name for layer in whole.layers[1:]]
    assert names == ["normalised", "shared", "conv", "norm", "top.conv", "relu", "flat", "classes"]
    keras = import_keras()
    inner = keras.Model(whole.input, {name: whole.get_layer(name).output for name in names})
    computed = inner(IMAGES, training=False)
    expected = network.get_layer("base")(network.get_layer("normalised")(IMAGES), training=False)
    np.testing.assert_allclose(computed["norm"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(computed["relu"], network.get_layer("top")(expected), rtol=1e-5, atol=1e-4)
    assert default_cut(whole) == "flat"


def test_a_fixed_batch_becomes_any(tmp_path):
    keras = import_keras()
    image = keras.Input(batch_shape=(2, SIZE, SIZE, 3))
    network = keras.Model(image, keras.layers.Flatten(name="flat")(keras.layers.Conv2D(2, 3, name="conv")(image)))
    whole = load(saved(network, tmp_path / "net.keras"))
    assert whole.input.shape == (None, SIZE, SIZE, 3)
    np.testing.assert_allclose(whole(IMAGES)[:2], network(IMAGES[:2]), rtol=1e-5, atol=1e-6)


def test_networks_of_any_size(tmp_path):
    keras = import_keras()
    image = keras.Input((None, None, 3))
    path = saved(keras.Model(image, keras.layers.Conv2D(2, 3, name="conv")(image)), tmp_path / "net.keras")
    assert load(path).input.shape == (None, None, None, 3)
    whole = load(path, 32)  # every map has its size, which is what compiling it needs
    assert (whole.input.shape, whole.get_layer("conv").output.shape) == ((None, 32, 32, 3), (None, 30, 30, 2))
    assert default_cut(whole) == "conv"
    images = np.ones((1, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(whole(images), load(path)(images))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "ConvNeXtTiny", "InceptionResNetV2", "MobileNetV3Small", "NASNetMobile"])
def test_keras_applications_inside_a_model(tmp_path, name):
    keras = import_keras()
    base = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(75, 75, 3), pooling="avg")
    image = keras.Input((75, 75, 3))
    network = keras.Model(image, keras.layers.Dense(4)(base(image)))
    path = saved(network, tmp_path / "net.keras")
    whole = load(path, 75)
    images = np.random.default_rng(0).uniform(0, 255, (2, 75, 75, 3)).astype(np.float32)
    np.testing.assert_allclose(whole(images, training=False), network(images, training=False), rtol=1e-4, atol=1e-5)
    inner = {layer.name for layer in base.layers[1:] if not isinstance(layer, keras.Model)}
    assert inner < {layer.name for layer in whole.layers}


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A .keras file whose configuration is changed in place, or replaced by what is returned."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    replaced = change(config)
    members["config.json"] = (
        replaced if isinstance(replaced, bytes) else json.dumps(config if replaced is None else replaced).encode()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def first_layer(config: dict[str, Any]) -> dict[str, Any]:
    return config["config"]["layers"][1]


def as_class(module: str | None, name: str, registered: str | None = None) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        first_layer(config).update({"module": module, "class_name": name, "registered_name": registered})

    return change


def as_activation(value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        first_layer(config)["config"]["activation"] = value

    return change


def function(module: str, name: str, registered: str | None = None) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered or name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (as_class("keras.layers", "Lambda"), r"has a Lambda layer, which is code or needs some"),
        (as_class("keras.src.layers.core.lambda_layer", "Lambda"), r"has a Lambda layer"),
        (as_class(None, "TFOpLambda"), r"has a TFOpLambda layer"),
        (as_activation({"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}), r"has a __lambda__ layer"),
        (
            as_class("keras.layers", "TFSMLayer"),
            r"needs the class keras\.layers\.TFSMLayer, .*making it could run code or read files",
        ),
        (as_class("keras.layers", "TorchModuleWrapper"), r"needs the class keras\.layers\.TorchModuleWrapper"),
        (as_class("keras.layers", "StringLookup"), r"needs the class keras\.layers\.StringLookup"),
        (as_class("keras.layers", "IntegerLookup"), r"needs the class keras\.layers\.IntegerLookup"),
        (as_class("keras.layers", "TextVectorization"), r"needs the class keras\.layers\.TextVectorization"),
        (as_class("keras.layers", "JaxLayer"), r"needs the class keras\.layers\.JaxLayer"),
        (as_class("keras.layers", "deserialize"), r"needs the class keras\.layers\.deserialize"),
        (as_class("keras.initializers", "deserialize"), r"needs the class keras\.initializers\.deserialize"),
        (as_class("keras.initializers", "a.B"), r"needs the class keras\.initializers\.a\.B"),
        (as_class("keras.utils", "get_file"), r"needs the class keras\.utils\.get_file"),
        (as_class("keras.config", "enable_unsafe_deserialization"), r"needs the class keras\.config\.enable_unsafe"),
        (as_class("os", "system"), r"needs the class os\.system"),
        (as_class("builtins", "eval"), r"needs the class builtins\.eval"),
        (as_class("keras_hub.layers", "Anything"), r"needs the class keras_hub\.layers\.Anything"),
        (as_class("keras.src.ops.core", "Map"), r"needs the class keras\.src\.ops\.core\.Map"),
        (as_class(None, "Mine", "mine>Mine"), r"needs the class Mine, registered as 'mine>Mine'"),
        (
            as_class("keras.layers", "Conv2D", "mine>Conv2D"),
            r"needs the class keras\.layers\.Conv2D, registered as 'mine>Conv2D'",
        ),
        (as_class(None, "Conv2D"), r"names the class Conv2D without its module"),
        (as_class(["os"], "system"), r"needs the class"),  # type: ignore[arg-type]
        (as_class("keras.layers", ["Conv2D"]), r"needs the class"),  # type: ignore[arg-type]
        (as_class(None, "__typespec__"), r"needs the class __typespec__"),
        (as_activation(function("keras.utils", "get_file")), r"calls the function keras\.utils\.get_file"),
        (as_activation(function("builtins", "mine", "mine>f")), r"calls the function builtins\.mine \(mine>f\)"),
        (as_activation(function("builtins", "relu", "mine>relu")), r"calls the function builtins\.relu \(mine>relu\)"),
        (as_activation(function("os", "relu")), r"Only Keras' own activations are taken"),
        (
            lambda config: first_layer(config)["inbound_nodes"].append({"args": [1, 2], "kwargs": {}}),
            r"on no image, only on numbers",
        ),
        (lambda config: {**config, "class_name": "Mine"}, r"needs the class keras\.src\.models\.functional\.Mine"),
        (
            lambda config: {**config, "module": "keras.layers", "class_name": "Dense", "registered_name": None},
            r"holds a model of the class 'Dense'",
        ),
        (lambda _: {"a": 1}, r"holds a model of the class None"),
        (lambda _: b"[1]", r"describes no model"),
        (lambda _: b"{", r"is not JSON"),
        (as_activation(json.loads("[" * 850 + "]" * 850)), r"nests too deep; no Keras model does"),
        (lambda _: b"[" * 100_000, r"is not JSON"),
    ],
)
def test_what_is_not_known_to_be_harmless_is_refused(tmp_path, monkeypatch, change, words):
    keras = import_keras()
    image = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(image, keras.layers.Conv2D(4, 3, name="conv")(image))
    path = rewritten(saved(network, tmp_path / "net.keras"), change)
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("Keras saw the file"))
    with pytest.raises(BackboneError, match=words):
        load(path)


def test_a_real_lambda_never_runs(tmp_path):
    keras = import_keras()
    flag = tmp_path / "it ran"
    image = keras.Input((SIZE, SIZE, 3))
    for ending in ("keras", "h5"):
        layer = keras.layers.Lambda(
            lambda x, path=str(flag): (os.system(f"touch '{path}'"), x)[1], output_shape=(SIZE, SIZE, 3)
        )
        path = saved(keras.Model(image, layer(image)), tmp_path / f"net.{ending}")
        flag.unlink(missing_ok=True)
        with pytest.raises(
            BackboneError, match=r"has a Lambda layer, which is code or needs some\. Code in files is never run"
        ):
            load(path)
        assert not flag.exists()


@pytest.mark.parametrize("extra", ["assets/vocabulary.txt", "../evil", "model.weights.npz", "/etc/evil"])
def test_archives_with_anything_else(tmp_path, extra):
    path = saved(sequential(), tmp_path / "net.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(extra, "x")
    with pytest.raises(BackboneError, match=r"anything else is refused"):
        load(path)


def test_archives_that_hold_a_member_twice_or_none(tmp_path):
    path = saved(sequential(), tmp_path / "net.keras")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")  # zipfile's about the name
        archive.writestr("config.json", "{}")
    with pytest.raises(BackboneError, match=r"once each; anything else is refused"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(BackboneError, match=r"holds 'config\.json'\. A Keras model of images holds"):
        load(path)


def test_bombs_in_archives(tmp_path):
    path = tmp_path / "net.keras"
    for name in ("config.json", "model.weights.h5"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", b" " * (65 << 20) if name == "config.json" else b"{}")
            archive.writestr("model.weights.h5", b"\0" * (65 << 20) if name == "model.weights.h5" else b"")
        with pytest.raises(BackboneError, match=rf"'{name}' in .* says it is 68,157,440 bytes, .* would fill the memory"):
            load(path)


def hdf5_in(folder: Path, ending: str, write: Callable[[h5py.File], Any]) -> Path:
    """A whole model whose HDF5 file is changed."""
    path = saved(sequential(), folder / f"net.{ending}")
    if ending == "h5":
        with h5py.File(path, "a") as file:
            write(file)
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = folder / "weights.h5"
    weights.write_bytes(members["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        write(file)
    members["model.weights.h5"] = weights.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def external_link(file: h5py.File) -> None:
    file["x"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    file["x"] = h5py.SoftLink("/")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("x", (8,), "u1", external=[("/etc/passwd", 0, 8)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/elsewhere.h5", "secret", (4,))
    file.create_virtual_dataset("x", layout)


def huge(file: h5py.File) -> None:
    file.create_dataset("x", (1 << 30,), "f4", chunks=(1024,))


def cycle(file: h5py.File) -> None:
    group = file.create_group("x/y")
    group["z"] = file["x"]


def deep(file: h5py.File) -> None:
    file.create_group("/".join("x" * 70))


def words_of(file: h5py.File) -> None:
    file.create_dataset("x", data=["text"], dtype=h5py.string_dtype())


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (external_link, r"/x in .* is a link \(ExternalLink\), which could read another file"),
        (soft_link, r"is a link \(SoftLink\)"),
        (external_storage, r"/x in .* keeps its values in other files"),
        (virtual, r"/x in .* keeps its values in other files"),
        (huge, r"'/x' in .* says it is 4,294,967,296 bytes, from 0 stored ones"),
        (cycle, r"stands in the file twice"),
        (deep, r"nests '/x/x.* too deep"),
        (words_of, r"/x in .* holds no plain numbers"),
    ],
)
def test_hdf5_that_leads_out_of_the_file_or_is_a_bomb(tmp_path, ending, write, words):
    path = hdf5_in(tmp_path, ending, write)
    with pytest.raises(BackboneError, match=words):
        load(path)


def test_hdf5_that_says_too_much_together(tmp_path, monkeypatch):
    monkeypatch.setattr(own_keras_files, "MAX_WEIGHT_BYTES", 500)
    path = saved(sequential(), tmp_path / "net.h5")
    with pytest.raises(BackboneError, match=r"The arrays in .* say they are more than 500 bytes together"):
        load(path)


def test_a_configuration_that_is_too_long(tmp_path, monkeypatch):
    path = saved(sequential(), tmp_path / "net.h5")
    monkeypatch.setattr(own_keras_files, "MAX_CONFIG_BYTES", 100)
    with pytest.raises(BackboneError, match=r"The configuration in .* bytes; at most 100 are taken"):
        load(path)


def test_weights_alone(tmp_path):
    network = sequential()
    for name in ("net.weights.h5", "plain.h5"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's about Keras
            network.save_weights(tmp_path / "net.weights.h5")
        path = tmp_path / name
        path.write_bytes((tmp_path / "net.weights.h5").read_bytes())
        with pytest.raises(BackboneError, match=rf"holds weights alone, .* --backbone NAME --weights .*{name}"):
            load(path)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_files_that_are_no_model(tmp_path, ending):
    path = tmp_path / f"net.{ending}"
    with pytest.raises(BackboneError, match=r"is no Keras model, or is damaged: No such file"):
        load(path)
    for content in (b"", b"not a model", b"PK\x03\x04" + b"\0" * 100, b"\x89HDF\r\n\x1a\n" + b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(BackboneError, match=r"is no Keras model, or is damaged|The HDF5 in .* is damaged"):
            load(path)
    with pytest.raises(BackboneError, match=r"ends neither in \.keras nor in \.h5"):
        load(tmp_path / "net.pt")


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_truncated_models(tmp_path, ending):
    whole = saved(sequential(), tmp_path / f"whole.{ending}").read_bytes()
    path = tmp_path / f"net.{ending}"
    for length in range(0, len(whole), max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        with pytest.raises(BackboneError):
            load(path)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_more_parameters_than_the_file_can_hold(tmp_path, ending):
    path = saved(sequential(), tmp_path / f"net.{ending}")
    if ending == "keras":
        rewritten(path, lambda config: json.loads(json.dumps(config).replace('"units": 5', '"units": 9999999999')))
    else:
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = file.attrs["model_config"].replace('"units": 5', '"units": 9999999999')
    with pytest.raises(BackboneError, match=r"asks for 50,000,000,\d+ parameters, and the file has .* would fill the memory"):
        load(path)


def test_an_activation_that_would_fill_the_memory(tmp_path):
    keras = import_keras()
    image = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(image, keras.layers.UpSampling2D(1024, name="huge")(image))
    with pytest.raises(BackboneError, match=r"The layer 'huge' of .* makes 805,306,368 values of one image"):
        load(saved(network, tmp_path / "net.keras"))


@pytest.mark.parametrize("shape", [(SIZE, SIZE, 1), (10,), (3, SIZE, SIZE)])
def test_networks_of_something_else(tmp_path, shape):
    keras = import_keras()
    values = keras.Input(shape)
    path = saved(keras.Model(values, keras.layers.Flatten()(values)), tmp_path / "net.keras")
    with pytest.raises(BackboneError, match=r"is no image network: .* its inputs are \[\(None, "):
        load(path)


def test_two_inputs_and_another_size(tmp_path):
    keras = import_keras()
    one, two = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))
    path = saved(keras.Model([one, two], keras.layers.Add()([one, two])), tmp_path / "net.keras")
    with pytest.raises(BackboneError, match=r"is no image network"):
        load(path)
    with pytest.raises(BackboneError, match=r"takes images of 16 x 16 pixels, not 32 x 32\. Write its own size into the YAML"):
        load(saved(sequential(), tmp_path / "other.keras"), 32)


def test_what_keras_itself_refuses(tmp_path):
    path = saved(sequential(), tmp_path / "net.keras")
    rewritten(path, lambda config: json.loads(json.dumps(config).replace('"filters": 4', '"filters": "four"')))
    with pytest.raises(BackboneError, match=r"Keras cannot load .*Save it again as \.keras with Keras 3, or export it to ONNX"):
        load(path)
