"""ONNX networks as backbones: OpenVINO on a batch equals ONNX Runtime on single images, wherever and however they are cut."""

from __future__ import annotations

import resource
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper

from tests.backbones.onnx_nets import SIZE, channels_last_map, convolutional, model, save, tokens, weights, with_data_file
from trunkline.backbones import onnx_network
from trunkline.backbones.backbone import Layer, Normalisation
from trunkline.backbones.golden import cosines
from trunkline.backbones.onnx_cut import pooled
from trunkline.backbones.onnx_network import CompiledOnnx, compile_onnx, default_cut, memory_limited, reference
from trunkline.backbones.own import NORMALISATIONS
from trunkline.errors import BackboneError

BATCH = 4
PIXELS = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)


def compile_in(folder: Path, path: Path, layers: list[str], **changed: Any) -> tuple[CompiledOnnx, dict[str, np.ndarray]]:
    """What was said, and what the written IR computes on the same pixels."""
    asked: dict[str, Any] = {
        "size": SIZE,
        "batch": BATCH,
        "normalisation": NORMALISATIONS["torch"],
        "pixels": "uint8",
        "pooling": "avg",
        "maps": "flat",
        "golden": PIXELS,
    } | changed
    said = compile_onnx(path, layers=layers, folder=folder, **asked)
    network = openvino.Core().compile_model(str(folder / "model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert tuple(network.input(0).shape) == (asked["batch"], SIZE, SIZE, 3)
    assert network.input(0).element_type.get_type_name() == {"uint8": "u8", "float32": "f32"}[asked["pixels"]]
    outputs = network([asked["golden"].astype(asked["pixels"])])
    return said, {layer: np.asarray(outputs[layer]) for layer in layers}


def by_hand(normalisation: str = "torch") -> np.ndarray:
    """`c1` of the convolutional net in float64 NumPy, (n, 8, 8, 8) channels last."""
    said = NORMALISATIONS[normalisation]
    images = PIXELS.astype(np.float64)[..., :: -1 if said.channels == "bgr" else 1]
    images = (images - np.asarray(said.mean)) / np.asarray(said.deviation)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    stem = np.einsum("nhwcij,ocij->nhwo", windows, weights(6, 3, 3, 3).astype(np.float64))
    return np.einsum("nhwc,oc->nhwo", np.maximum(stem, 0), weights(8, 6, 1, 1)[..., 0, 0].astype(np.float64))


POOLINGS = {
    "avg": lambda maps: maps.mean((1, 2)),
    "max": lambda maps: maps.max((1, 2)),
    "gem": lambda maps: (np.maximum(maps, 1e-6) ** 3).mean((1, 2)) ** (1 / 3),
    "none": lambda maps: maps.reshape(len(maps), -1),
}


def test_layers_are_listed_in_order_with_safe_unique_names(tmp_path):
    assert onnx_network.layers(save(convolutional(), tmp_path), SIZE) == [
        Layer("stem.conv.0", "Conv", (8, 8, 6)),
        Layer("stem.relu.0", "Relu", (8, 8, 6)),
        Layer("stem.conv.0-2", "Conv", (8, 8, 8)),
        Layer("pooled", "GlobalAveragePool", (1, 1, 8)),
        Layer("flat", "Flatten", (8,)),
        Layer("head.Gemm", "Gemm", (5,)),
        Layer("head.Softmax", "Softmax", (5,)),
    ]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_features_equal_numpy(tmp_path, pooling, normalisation):
    path = save(convolutional(), tmp_path)
    said, computed = compile_in(tmp_path, path, ["c1"], pooling=pooling, normalisation=NORMALISATIONS[normalisation])
    expected = POOLINGS[pooling](by_hand(normalisation)).astype(np.float32)
    np.testing.assert_allclose(computed["c1"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(said.golden["c1"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert said.shapes == {"c1": (8 * 8 * 8,) if pooling == "none" else (8,)}


@pytest.mark.parametrize("size", [SIZE, "side"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("batch", ["batch", None, 1, 3, BATCH])
@pytest.mark.parametrize("pixels", ["uint8", "float32"])
def test_every_kind_of_input(tmp_path, size, first, batch, pixels):
    path = save(convolutional(batch, size, first), tmp_path)
    layers = ["stem.relu.0", "flat", "head.Gemm"]
    said, computed = compile_in(tmp_path, path, layers, pixels=pixels)
    assert said.shapes == {"stem.relu.0": (6,), "flat": (8,), "head.Gemm": (5,)}
    assert min(cosines(computed[layer], said.golden[layer]).min() for layer in layers) >= 0.99999
    np.testing.assert_allclose(said.golden["flat"], by_hand().mean((1, 2)), rtol=1e-3, atol=1e-4)
    assert said.multiply_accumulates == 8 * 8 * 6 * 27 + 8 * 8 * 8 * 6 + 8 * 5


@pytest.mark.parametrize("flat", [[1, 8], [1, -1], [-1, 8], [0, -1]])
def test_a_reshape_to_the_exported_batch_is_freed(tmp_path, flat):
    path = save(convolutional(1, flat=flat), tmp_path)
    said, computed = compile_in(tmp_path, path, ["flat"])
    np.testing.assert_allclose(computed["flat"], said.golden["flat"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(said.golden["flat"], by_hand().mean((1, 2)), rtol=1e-3, atol=1e-4)


def test_networks_in_float16(tmp_path):
    node = helper.make_node("Conv", ["image", "k"], ["out"], "conv")
    held = {"k": weights(4, 3, 3, 3).astype(np.float16)}
    made = model([node], held, {"image": ["n", 3, SIZE, SIZE]}, ["out"], TensorProto.FLOAT16)
    said, computed = compile_in(tmp_path, save(made, tmp_path), ["conv"])
    assert computed["conv"].dtype == np.float32
    assert cosines(computed["conv"], said.golden["conv"]).min() >= 0.99999


@pytest.mark.parametrize(("pooling", "shape"), [("avg", (10,)), ("max", (10,)), ("gem", (10,)), ("none", (160,))])
def test_tokens(tmp_path, pooling, shape):
    path = save(tokens(), tmp_path)
    said, computed = compile_in(tmp_path, path, ["bias"], pooling=pooling)
    assert said.shapes == {"bias": shape}
    assert cosines(computed["bias"], said.golden["bias"]).min() >= 0.99999
    exact = reference(path, ["bias"], PIXELS, NORMALISATIONS["torch"])["bias"]
    assert exact.shape == (BATCH, 16, 10)
    np.testing.assert_array_equal(said.golden["bias"], pooled(exact, pooling))


def test_maps_are_channels_last_whatever_their_order_in_the_file(tmp_path):
    path = save(channels_last_map(), tmp_path)
    assert [layer.shape for layer in onnx_network.layers(path, SIZE)] == [(4, 4, 10), (4, 4, 10), (4, 4, 7)]
    both = reference(path, ["map", "turned"], PIXELS, NORMALISATIONS["tf"])
    np.testing.assert_array_equal(both["map"], both["turned"])
    for pooling in POOLINGS:
        said, computed = compile_in(
            tmp_path, path, ["map", "turned", "out"], pooling=pooling, maps="kept" if pooling == "none" else "flat"
        )
        np.testing.assert_allclose(computed["map"], computed["turned"], atol=1e-5)
        np.testing.assert_array_equal(said.golden["map"], said.golden["turned"])
    assert said.shapes == {"map": (4, 4, 10), "turned": (4, 4, 10), "out": (4, 4, 7)}
    assert computed["out"].shape == (BATCH, 4 * 4 * 7)


def test_safe_raw_and_value_names_are_the_same_layer(tmp_path):
    names = ["stem.conv.0-2", "/stem/conv 0", "c1"]
    said, computed = compile_in(tmp_path, save(convolutional(), tmp_path), names)
    for name in names[1:]:
        np.testing.assert_array_equal(computed[name], computed[names[0]])
        np.testing.assert_array_equal(said.golden[name], said.golden[names[0]])


def test_a_layer_named_like_another_value(tmp_path):
    """`c` is the first convolution's value and the second one's name: the IR's outputs still are what was asked for."""
    made = convolutional()
    made.graph.node[2].name = "c"
    said, computed = compile_in(tmp_path, save(made, tmp_path), ["c", "r"])
    assert said.shapes == {"c": (8,), "r": (6,)}
    np.testing.assert_allclose(computed["c"], said.golden["c"], rtol=1e-4, atol=1e-5)


def test_weights_in_data_files(tmp_path):
    plain = reference(save(convolutional(), tmp_path, "plain.onnx"), ["flat"], PIXELS, NORMALISATIONS["torch"])
    path = with_data_file(convolutional(), tmp_path)
    said, computed = compile_in(tmp_path, path, ["flat"])
    np.testing.assert_array_equal(said.golden["flat"], plain["flat"])
    assert cosines(computed["flat"], plain["flat"]).min() >= 0.99999
    assert Path(tmp_path / "model.bin").stat().st_size >= 4 * (6 * 27 + 48)


def test_default_cuts(tmp_path):
    assert default_cut(save(convolutional(), tmp_path), SIZE) == "flat"
    assert default_cut(save(tokens(), tmp_path), SIZE) == "tokens"
    made = convolutional()
    del made.graph.node[5:]
    made.graph.output[0].name = "flat"
    assert default_cut(save(made, tmp_path), SIZE) == "flat"


def test_a_split_gives_a_layer_an_output(tmp_path):
    nodes = [helper.make_node("Split", ["image"], ["a", "b", "c"], "/split", axis=1)]
    path = save(model(nodes, {}, {"image": ["n", 3, SIZE, SIZE]}, ["a", "b", "c"]), tmp_path)
    said, computed = compile_in(tmp_path, path, ["split.2", "split.0"], normalisation=Normalisation())
    np.testing.assert_allclose(computed["split.2"][:, 0], PIXELS[..., 2].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(said.golden["split.0"][:, 0], PIXELS[..., 0].mean((1, 2)), rtol=1e-5)


def test_unknown_layers(tmp_path):
    with pytest.raises(
        BackboneError,
        match=r"The backbone net\.onnx has no layer 'stem\.rlu\.0'\. Did you mean stem\.relu\.0.* It has 7; the last are: stem\.conv\.0, ",
    ):
        compile_in(tmp_path, save(convolutional(), tmp_path), ["stem.rlu.0"])


def test_layers_that_hold_no_features_of_single_images(tmp_path):
    nodes = [
        helper.make_node("ArgMax", ["image"], ["which"], "/which", axis=1),
        helper.make_node("ReduceMean", ["image"], ["mean"], "/mean", axes=[0]),
        helper.make_node("Relu", ["image"], ["out"], "/out"),
    ]
    path = save(model(nodes, {}, {"image": ["n", 3, SIZE, SIZE]}, ["out"]), tmp_path)
    assert [layer.name for layer in onnx_network.layers(path, SIZE)] == ["out"]
    for layer in ("which", "mean"):
        with pytest.raises(BackboneError, match=rf"The layer '{layer}' of .* holds no features of single images"):
            compile_in(tmp_path, path, [layer])


def test_a_graph_that_cannot_take_a_batch(tmp_path):
    made = convolutional(1)
    made.graph.node.insert(2, helper.make_node("Concat", ["r", "one"], ["r+"], "/fixed", axis=1))
    made.graph.node[3].input[0] = "r+"
    made.graph.initializer.append(onnx.numpy_helper.from_array(weights(1, 1, 8, 8), "one"))
    made.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(weights(8, 7, 1, 1), "k1"))
    path = save(made, tmp_path)
    with pytest.raises(
        BackboneError, match=r"cannot take 2 images at once\. It was exported for a batch of 1\. Export it with a dynamic batch"
    ):
        compile_in(tmp_path, path, ["flat"])


def test_a_network_in_which_nothing_follows_the_batch(tmp_path):
    node = helper.make_node("ReduceMean", ["image"], ["out"], "/mean", axes=[0])
    path = save(model([node], {}, {"image": ["n", 3, SIZE, SIZE]}, ["out"]), tmp_path)
    with pytest.raises(BackboneError, match=r"No value of .* follows the batch"):
        onnx_network.layers(path, SIZE)


def test_a_graph_that_mixes_the_images_of_a_batch(tmp_path):
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], "/mean", axes=[0]),
        helper.make_node("Sub", ["image", "mean"], ["less"], "/less"),
        helper.make_node("Add", ["less", "one"], ["out"], "/out"),
    ]
    path = save(model(nodes, {"one": np.ones(1, np.float32)}, {"image": ["n", 3, SIZE, SIZE]}, ["out"]), tmp_path)
    with pytest.raises(
        BackboneError, match=r"what ONNX Runtime computes on single ones: lowest cosine .* mixes the images of a batch"
    ):
        compile_in(tmp_path, path, ["out"])


def test_operators_that_a_runtime_lacks(tmp_path):
    nodes = [
        helper.make_node("MeanVarianceNormalization", ["image"], ["out"], "/out"),
        helper.make_node("Det", ["out"], ["det"], "/det"),
    ]
    path = save(model(nodes, {}, {"image": ["n", 3, SIZE, SIZE]}, ["out"]), tmp_path)
    with pytest.raises(BackboneError, match=r"OpenVINO cannot read .*Export it with another opset"):
        onnx_network.layers(path, SIZE)


def test_a_network_that_onnx_runtime_cannot_run(tmp_path, monkeypatch):
    path = save(convolutional(), tmp_path)
    monkeypatch.setattr(onnx_network, "normalised", lambda *_: np.zeros((1, 3, 5, 5), np.int64))
    with pytest.raises(BackboneError, match=r"ONNX Runtime cannot run .*net\.onnx: .*Export it with another opset"):
        reference(path, ["flat"], PIXELS, Normalisation())


def test_without_onnx_runtime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackboneError, match=r"pip install 'trunkline\[onnx\]'"):
        reference(save(convolutional(), tmp_path), ["flat"], PIXELS, Normalisation())


def test_memory_is_limited_and_the_limit_goes_away_again():
    def too_much() -> None:
        with memory_limited():
            assert resource.getrlimit(resource.RLIMIT_DATA) != before
            np.ones(1 << 42, np.uint8)

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(BackboneError, match=r"needs more memory than this machine has free"):
        too_much()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("any_batch", [True, False])
def test_a_network_exported_from_pytorch(tmp_path, dynamo, any_batch):
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    if dynamo:
        pytest.importorskip("onnxscript")
    network = torchvision.models.resnet18().eval()
    path = tmp_path / "resnet18.onnx"
    dynamic: dict[str, Any] = {"dynamic_axes": {"x": {0: "n"}}}
    if dynamo:
        dynamic = {"dynamic_shapes": ({0: torch.export.Dim("n")},), "external_data": True}
    if not any_batch:
        dynamic = {key: value for key, value in dynamic.items() if not key.startswith("dynamic")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's about itself
        torch.onnx.export(
            network, (torch.zeros(2 if any_batch else 1, 3, 64, 64),), str(path), dynamo=dynamo, input_names=["x"], **dynamic
        )
    pixels = np.random.default_rng(1).integers(0, 256, (BATCH, 64, 64, 3), dtype=np.uint8)
    cut = default_cut(path, 64)
    said = compile_onnx(
        path,
        size=64,
        batch=BATCH,
        normalisation=NORMALISATIONS["torch"],
        pixels="uint8",
        layers=[cut],
        pooling="avg",
        maps="flat",
        folder=tmp_path,
        golden=pixels,
    )
    network.fc = torch.nn.Identity()
    images = (torch.tensor(pixels.astype(np.float32)) - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor(
        [58.395, 57.12, 57.375]
    )
    with torch.no_grad():
        expected = network(images.permute(0, 3, 1, 2)).numpy()
    assert said.shapes == {cut: (512,)}
    assert cosines(said.golden[cut], expected).min() >= 0.99999
