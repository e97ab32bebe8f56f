"""ONNX files of strangers: what is not plain operators on tensors from beside the file is refused, each with its own words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.backbones.onnx_nets import SIZE, convolutional, model, save, with_data_file
from trunkline.backbones import onnx_files
from trunkline.backbones.onnx_files import data_files, image_input, read, refuse_bombs, write_beside_data
from trunkline.errors import BackboneError


def one_node(kind: str, domain: str = "", **attributes: object) -> onnx.ModelProto:
    node = helper.make_node(kind, ["image"], ["out"], "it", domain=domain, **attributes)
    return model([node], {}, {"image": ["n", 3, SIZE, SIZE]}, ["out"], domains=[domain] if domain else [])


def with_branch() -> onnx.ModelProto:
    inner = helper.make_graph([helper.make_node("Relu", ["image"], ["y"])], "b", [], [helper.make_empty_tensor_value_info("y")])
    made = one_node("Relu")
    made.graph.node.append(helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=inner))
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    return made


def with_function() -> onnx.ModelProto:
    made = one_node("Relu")
    opset = [helper.make_opsetid("", 17)]
    made.functions.append(
        helper.make_function("mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opset)
    )
    return made


def with_sparse() -> onnx.ModelProto:
    made = one_node("Relu")
    values, at = numpy_helper.from_array(np.ones(1, np.float32), "s"), numpy_helper.from_array(np.zeros(1, np.int64), "i")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, at, [4]))
    return made


def with_far_attribute() -> onnx.ModelProto:
    made = one_node("Relu")
    tensor = TensorProto(dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, name="t")
    tensor.external_data.add(key="location", value="/etc/passwd")
    made.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    return made


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda: one_node("Evil", "com.example"),
            r"outside the ONNX standard: com\.example\.Evil\. Their meaning is not in the file",
        ),
        (lambda: one_node("FusedConv", "com.microsoft"), r"com\.microsoft\.FusedConv.*before any tool has optimised it"),
        (with_branch, r"has control flow \(If\): its cost"),
        (with_function, r"defines functions of its own: Twice\. Inline them"),
        (with_sparse, r"holds sparse tensors"),
        (with_far_attribute, r"keeps its attribute in another file"),
        (lambda: one_node("RandomNormalLike"), r"draws random numbers \(RandomNormalLike\): the same image"),
        (lambda: one_node("NoSuchOperator"), r"is not a valid ONNX network: .*NoSuchOperator"),
        (lambda: one_node("Conv"), r"is not a valid ONNX network"),
    ],
)
def test_what_is_not_plain_is_refused(tmp_path: Path, made: Callable[[], onnx.ModelProto], words: str):
    with pytest.raises(BackboneError, match=words):
        read(save(made(), tmp_path))


@pytest.mark.parametrize("content", [b"", b"\x80\x04not a protobuf", b"PK\x03\x04", b"\x0a" * 5000])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match=r"net\.onnx is not an ONNX file, or is damaged"):
        read(path)


def test_every_truncation_is_refused_in_words(tmp_path):
    whole = convolutional().SerializeToString()
    path = tmp_path / "net.onnx"
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(BackboneError):
            refuse_bombs(path, made := read(path), image_input(path, made, SIZE), SIZE)


def test_a_file_that_is_not_there_or_too_large(tmp_path, monkeypatch):
    with pytest.raises(BackboneError, match=r"Cannot read the network .*none\.onnx: No such file"):
        read(tmp_path / "none.onnx")
    monkeypatch.setattr(onnx_files, "MAX_FILE_BYTES", 100)
    with pytest.raises(BackboneError, match=r"bytes; an ONNX file ends at 2 GiB\. Export it with external data"):
        read(save(convolutional(), tmp_path))


def test_too_many_operators(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "MAX_NODES", 3)
    with pytest.raises(BackboneError, match=r"has 7 operators; at most 3 are taken"):
        read(save(convolutional(), tmp_path))


def test_without_the_packages(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackboneError, match=r"pip install 'trunkline\[onnx\]'"):
        read(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    "location",
    [
        "../net.onnx.data",
        "/etc/passwd",
        "a/../../b",
        "sub/data",
        "..",
        ".",
        "",
        ".hidden",
        "a\\b",
        "a\0b",
        "net.onnx",
        "a..b",
        "file:///x",
    ],
)
def test_a_data_file_anywhere_else_is_refused(tmp_path, location):
    path = with_data_file(convolutional(), tmp_path, location)
    for reader in (read, data_files):
        with pytest.raises(BackboneError, match=r"any other could read a file of yours, so it is refused"):
            reader(path)


def test_data_files_that_are_missing_links_or_short(tmp_path):
    path = with_data_file(convolutional(), tmp_path)
    assert data_files(path) == ["net.onnx.data"]
    read(path)
    data = tmp_path / "net.onnx.data"
    content = data.read_bytes()
    data.write_bytes(content[:-1])
    with pytest.raises(BackboneError, match=r"The weights 'w' of .* should be 160 bytes.*damaged or of another export"):
        read(path)
    data.unlink()
    with pytest.raises(BackboneError, match=r"keeps weights in net\.onnx\.data, which is not beside it\. Copy it to"):
        read(path)
    (tmp_path / "elsewhere").write_bytes(content)
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackboneError, match=r"is a link or no file: it could lead anywhere"):
        read(path)


@pytest.mark.parametrize(("key", "value"), [("offset", "-4"), ("length", "12"), ("offset", "999999999999"), ("length", "x")])
def test_data_ranges_outside_the_file(tmp_path, key, value):
    path = with_data_file(convolutional(), tmp_path)
    made = onnx.ModelProto.FromString(path.read_bytes())
    entry = next(each for each in made.graph.initializer[0].external_data if each.key == key)
    entry.value = value
    with pytest.raises(BackboneError, match=r"The weights 'k' of .* should be 648 bytes"):
        read(save(made, tmp_path))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"image": ["n", 3, SIZE]}, r"no image network.*its inputs are: image \(n, 3, 16\)"),
        ({"image": ["n", 1, SIZE, SIZE]}, r"its inputs are: image \(n, 1, 16, 16\)"),
        ({"image": ["n", "c", "h", "w"]}, r"its inputs are: image \(n, c, h, w\)"),
        ({"image": ["n", 3, SIZE, SIZE], "mask": ["n", 3, SIZE, SIZE]}, r"image \(n, 3, 16, 16\), mask \(n, 3, 16, 16\)"),
        ({"image": ["n", 3, 32, 32]}, r"takes images of 32 x 32 pixels .* not 16 x 16"),
        ({"image": ["n", 24, "w", 3]}, r"takes images of 24 x None pixels"),
    ],
)
def test_inputs_that_are_no_image_of_that_size(tmp_path, inputs, words):
    made = model([helper.make_node("Relu", ["image"], ["out"])], {}, inputs, ["out"])
    with pytest.raises(BackboneError, match=words):
        image_input(tmp_path / "net.onnx", made, SIZE)


def test_inputs_of_whole_numbers(tmp_path):
    made = model(
        [helper.make_node("Relu", ["image"], ["out"])], {}, {"image": ["n", 3, SIZE, SIZE]}, ["out"], TensorProto.UINT8
    )
    with pytest.raises(BackboneError, match=r"takes uint8 images; only float and float16"):
        image_input(tmp_path / "net.onnx", made, SIZE)


def test_old_files_that_list_their_weights_as_inputs(tmp_path):
    made = convolutional()
    made.graph.input.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, [6, 3, 3, 3]))
    assert image_input(tmp_path / "net.onnx", made, SIZE).name == "image"


def test_a_bomb_of_an_activation_is_refused(tmp_path):
    node = helper.make_node("Expand", ["image", "target"], ["out"], "/bomb")
    made = model([node], {"target": np.array([1, 3, 1 << 20, 1 << 20])}, {"image": ["n", 3, 1, 1]}, ["out"])
    made.graph.node.insert(0, helper.make_node("ReduceMax", ["big"], ["image"], axes=[2, 3]))
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("big", TensorProto.FLOAT, ["n", 3, SIZE, SIZE]))
    path = save(made, tmp_path)
    with pytest.raises(BackboneError, match=r"makes a tensor 'out' of 3,298,534,883,328 values.*would fill the memory"):
        refuse_bombs(path, found := read(path), image_input(path, found, SIZE), SIZE)


def test_shapes_that_onnx_cannot_infer(tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise onnx.shape_inference.InferenceError("types differ.")

    made = convolutional()
    monkeypatch.setattr("onnx.shape_inference.infer_shapes", broken)
    path = tmp_path / "net.onnx"
    with pytest.raises(
        BackboneError, match=r"The shapes and types in .*net\.onnx do not fit together: types differ\. Export it again"
    ):
        refuse_bombs(path, made, image_input(path, made, SIZE), SIZE)


def test_a_copy_keeps_its_data_files(tmp_path):
    path = with_data_file(convolutional(), tmp_path)
    folder = tmp_path / "copy"
    folder.mkdir()
    copy = write_beside_data(read(path), path, folder)
    assert (folder / "net.onnx.data").read_bytes() == (tmp_path / "net.onnx.data").read_bytes()
    onnx.checker.check_model(str(copy))
    read(path)  # the original is as it was
