"""Backbones for any batch, as Keras and as ONNX: what the compiled network computes, whatever pooling, layer and order of channels."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from tests.backbones import onnx_nets
from trunkline.backbones import network, onnx_network, own
from trunkline.backbones.backbone import Normalisation
from trunkline.backbones.catalogue import find
from trunkline.backbones.onnx_cut import pooled
from trunkline.errors import BackboneError, RunError, SpecError
from trunkline.predictor import making, onnx_backbone
from trunkline.predictor.dense_chain import DenseLayer
from trunkline.predictor.making import Making, made_in_its_own_process, make
from trunkline.predictor.onnx_backbone import features_of_onnx
from trunkline.specs import Recipe

SIZE = 32

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own, when it saves


def recipe(**changes: Any) -> Recipe:
    said = {
        "backbone": "b",
        "weights": "0" * 16,
        "layers": ("l",),
        "size": SIZE,
        "fit": "crop",
        "kernel": "bilinear",
        "decoder": "d",
    }
    return Recipe(**said | {"normalisation": "n", "precision": "f32", "dtype": "float32"} | changes)


def run(content: bytes, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["features"], {"pixels": pixels})[0]


@pytest.fixture(scope="module")
def whole(tensorflow: ModuleType) -> Any:
    assert tensorflow
    return network.whole(find("mobilenet-v2"), None, SIZE)


@pytest.mark.parametrize(
    ("pooling", "dtype", "pixels", "channels"),
    [
        ("avg", "float32", "uint8", "rgb"),
        ("max", "float16", "uint8", "bgr"),
        ("gem", "float32", "float32", "rgb"),
        ("none", "float32", "uint8", "bgr"),
    ],
)
def test_a_keras_backbone_for_any_batch(whole: Any, tmp_path: Path, pooling: str, dtype: str, pixels: str, channels: str):
    said = recipe(layers=("block_6_expand_relu", "out_relu"), pooling=pooling, pixels=pixels)
    normalisation = Normalisation(mean=(10.0, 20.0, 30.0), deviation=(50.0, 60.0, 70.0), channels=channels)
    compiled = network.truncated(whole, said, normalisation, 4)
    compiled.save(tmp_path / "backbone.keras")
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(pixels)
    for layer in said.layers:
        expected = np.asarray(compiled(images, training=False)[layer]).astype(dtype).astype(np.float32)
        make(Making(layer=layer, pooling=pooling, dtype=dtype), tmp_path)
        found = run((tmp_path / "features.onnx").read_bytes(), images)
        atol = (1e-3 if dtype == "float16" else 1e-5) * float(np.abs(expected).max())
        np.testing.assert_allclose(found, expected, atol=atol, rtol=0)
        np.testing.assert_allclose(run((tmp_path / "features.onnx").read_bytes(), images[:3]), found[:3], atol=atol, rtol=0)


def test_dense_layers_come_after_it(whole: Any, tmp_path: Path):
    network.truncated(whole, recipe(layers=("out_relu",)), Normalisation(), 2).save(tmp_path / "backbone.keras")
    random = np.random.default_rng(0)
    chain = [
        DenseLayer.of(random.normal(0, 0.1, (1280, 5)), random.normal(0, 1, 5), "relu"),
        DenseLayer.of(random.normal(0, 1, (5, 3)), random.normal(0, 1, 3), "softmax"),
    ]
    pixels = random.integers(0, 256, (9, SIZE, SIZE, 3), dtype=np.uint8)
    order = Making(layer="out_relu", pooling="avg", dtype="float32")
    made_in_its_own_process(order, (tmp_path / "backbone.keras").read_bytes(), chain, pixels, tmp_path)
    features = run((tmp_path / "features.onnx").read_bytes(), pixels)
    scores = np.maximum(features @ chain[0].weights + chain[0].bias, 0) @ chain[1].weights + chain[1].bias
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), shares / shares.sum(axis=1, keepdims=True), atol=1e-4)
    model = importlib.import_module("keras").models.load_model(tmp_path / "predictor.keras")
    assert [layer.name for layer in model.layers[-2:]] == ["head_1", "probabilities"]


@pytest.mark.slow
def test_a_layer_that_is_not_known_ends_the_other_process_with_words(tensorflow: ModuleType, tmp_path: Path):
    assert tensorflow
    keras = importlib.import_module("keras")
    inputs = keras.Input((SIZE, SIZE, 3))
    inner = keras.Model(inputs, keras.layers.UpSampling2D(name="up")(inputs))
    network.truncated(inner, recipe(layers=("up",)), Normalisation(), 2).save(tmp_path / "odd.keras")
    order = Making(layer="up", pooling="avg", dtype="float32")
    pixels = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(BackboneError, match=r"The layer 'up' \(UpSampling2D\) cannot be written as ONNX"):
        made_in_its_own_process(order, (tmp_path / "odd.keras").read_bytes(), (), pixels, tmp_path)
    with pytest.raises(RunError, match=r"Making the predictor's files failed \(exit status 1\)"):
        made_in_its_own_process(order, b"no Keras file", (), pixels, tmp_path)


NETS = {
    "channels first": onnx_nets.convolutional,
    "channels last": lambda: onnx_nets.convolutional(first=False),
    "fixed batch": lambda: onnx_nets.convolutional(batch=2, flat=[2, 8]),
    "tokens": onnx_nets.tokens,
    "map, channels last": onnx_nets.channels_last_map,
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("pooling", ["avg", "max", "gem", "none"])
def test_an_onnx_backbone(tmp_path: Path, name: str, pooling: str):
    path = written(tmp_path, NETS[name]())
    images = np.random.default_rng(0).integers(0, 256, (4, onnx_nets.SIZE, onnx_nets.SIZE, 3), dtype=np.uint8)
    for layer in [each.name for each in onnx_network.layers(path, onnx_nets.SIZE)]:
        expected = pooled(onnx_network.reference(path, [layer], images, own.describe(str(path)).normalisation)[layer], pooling)
        content = features_of_onnx(recipe_of(path, layer, pooling=pooling), layer, str(path))
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        np.testing.assert_allclose(run(content, images), expected, atol=2e-5 * max(1.0, float(np.abs(expected).max())), rtol=0)


def written(folder: Path, model: Any, normalisation: str = "caffe") -> Path:
    onnx.save(model, folder / "net.onnx")
    (folder / "net.yaml").write_text(f"{{size: {onnx_nets.SIZE}, normalisation: {normalisation}}}")
    return folder / "net.onnx"


def recipe_of(path: Path, layer: str, **changes: Any) -> Recipe:
    normalisation = str(own.describe(str(path)).normalisation)
    said = {"backbone": path.name, "weights": own.digest(path), "size": onnx_nets.SIZE, "normalisation": normalisation}
    return recipe(**said | {"layers": (layer,)} | changes)


@pytest.mark.parametrize("opset", [12, 13, 20])
def test_older_opsets_are_raised_and_newer_ones_stay(tmp_path: Path, opset: int):
    model = onnx_nets.convolutional()
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", opset)])
    path = written(tmp_path, model)
    content = features_of_onnx(recipe_of(path, "flat", dtype="float16", pixels="float32"), "flat", str(path))
    made = onnx.load_from_string(content)
    assert [each.version for each in made.opset_import] == [max(opset, 17)]
    images = np.random.default_rng(0).integers(0, 256, (3, onnx_nets.SIZE, onnx_nets.SIZE, 3)).astype(np.float32)
    expected = onnx_network.reference(path, ["flat"], images, own.describe(str(path)).normalisation)["flat"]
    np.testing.assert_allclose(run(content, images), expected.astype(np.float16), rtol=2e-3)


def test_what_comes_after_the_layer_is_left_out(tmp_path: Path):
    path = written(tmp_path, onnx_nets.convolutional())
    content = features_of_onnx(recipe_of(path, "flat"), "flat", str(path))
    made = onnx.load_from_string(content)
    assert not [node for node in made.graph.node if node.op_type == "Softmax"]
    assert "network/w" not in [each.name for each in made.graph.initializer]


def test_other_files_and_opsets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = written(tmp_path, onnx_nets.convolutional())
    said = recipe_of(path, "flat")
    with pytest.raises(SpecError, match=r"came as an ONNX file, of which the store holds only what was compiled"):
        features_of_onnx(said, "flat", None)
    with pytest.raises(SpecError, match=r"is not the file, or its YAML not the normalisation"):
        features_of_onnx(said.model_copy(update={"weights": "f" * 64}), "flat", str(path))
    monkeypatch.setattr(onnx_backbone, "OPSET", 99)
    with pytest.raises(BackboneError, match=r"is of opset \d+, and cannot be brought to 99"):
        features_of_onnx(said, "flat", str(path))


def test_the_process_says_what_a_user_has_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    def refuse(*_: object) -> None:
        raise BackboneError("no such\nlayer")

    monkeypatch.setattr(making, "make", refuse)
    monkeypatch.setattr(
        "sys.argv", ["making", Making(layer="l", pooling="avg", dtype="float32").model_dump_json(), str(tmp_path)]
    )
    with pytest.raises(SystemExit) as ended:
        making.main()
    assert (ended.value.code, capsys.readouterr().out) == (2, "no such layer")
