"""Small ONNX networks written by hand, for the tests of ONNX files and networks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 16


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)


def convolutional(
    batch: int | str | None = "batch", size: int | str = SIZE, first: bool = True, flat: Any = None
) -> onnx.ModelProto:
    """Convolution (stride 2) → relu → 1 x 1 convolution to 8 → average → flatten (or reshape to `flat`) → classifier of 5, softmax."""
    nodes = [] if first else [helper.make_node("Transpose", ["image"], ["turned"], "/turn", perm=[0, 3, 1, 2])]
    reshape = helper.make_node("Flatten", ["pooled"], ["flat"], "/flat")
    if flat is not None:
        reshape = helper.make_node("Reshape", ["pooled", "target"], ["flat"], "/flat")
    nodes += [
        helper.make_node(
            "Conv", ["image" if first else "turned", "k"], ["c"], "/stem/conv:0", strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["c"], ["r"], "/stem/relu:0"),
        helper.make_node("Conv", ["r", "k1"], ["c1"], "/stem/conv 0"),
        helper.make_node("GlobalAveragePool", ["c1"], ["pooled"], ""),
        reshape,
        helper.make_node("Gemm", ["flat", "w"], ["logits"], "/head/Gemm"),
        helper.make_node("Softmax", ["logits"], ["out"], "/head/Softmax"),
    ]
    held = {"k": weights(6, 3, 3, 3), "k1": weights(8, 6, 1, 1), "w": weights(8, 5)}
    if flat is not None:
        held["target"] = np.asarray(flat, np.int64)
    shape = [batch, 3, size, size] if first else [batch, size, size, 3]
    return model(nodes, held, {"image": shape}, ["out"])


def tokens() -> onnx.ModelProto:
    """Patches of 4 x 4 as tokens: (n, 16, 10), then one more linear layer."""
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["patches"], "/patches", strides=[4, 4]),
        helper.make_node("Reshape", ["patches", "target"], ["rows"], "/rows"),
        helper.make_node("Transpose", ["rows"], ["tokens"], "/tokens", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tokens", "w"], ["mixed"], "/mixed"),
        helper.make_node("Add", ["mixed", "b"], ["out"], "/bias"),
    ]
    held = {"k": weights(10, 3, 4, 4), "target": np.array([0, 10, -1]), "w": weights(10, 10), "b": weights(10)}
    return model(nodes, held, {"image": ["batch", 3, SIZE, SIZE]}, ["out"])


def channels_last_map() -> onnx.ModelProto:
    """A convolution whose map is turned to (n, h, w, c) before a linear layer, as transformers over windows do."""
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["map"], "/map", strides=[4, 4]),
        helper.make_node("Transpose", ["map"], ["turned"], "/turned", perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["turned", "w"], ["out"], "/out"),
    ]
    return model(nodes, {"k": weights(10, 3, 4, 4), "w": weights(10, 7)}, {"image": ["n", 3, SIZE, SIZE]}, ["out"])


def model(
    nodes: Sequence[onnx.NodeProto],
    held: dict[str, np.ndarray],
    inputs: dict[str, list[int | str | None]],
    outputs: Sequence[str],
    dtype: int = TensorProto.FLOAT,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with contextlib.suppress(onnx.shape_inference.InferenceError):
        made = onnx.shape_inference.infer_shapes(made)
    del made.graph.value_info[:]
    for output in made.graph.output:
        output.type.tensor_type.shape.SetInParent()  # valid files say a shape, be it a wrong one
    return made


def save(made: onnx.ModelProto, folder: Path, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def with_data_file(made: onnx.ModelProto, folder: Path, location: str = "net.onnx.data") -> Path:
    """The weights in a file beside it, which is written; the location in the network is what is given."""
    content = b""
    for tensor in made.graph.initializer:
        raw = numpy_helper.to_array(tensor).tobytes()
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(len(content))), ("length", str(len(raw)))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        content += raw
    (folder / "net.onnx.data").write_bytes(content)
    return save(made, folder)
