"""An ONNX graph in the making: nodes, constants, and values that know their shape and the order of their axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.onnx_files import import_onnx

OPSET = 17  # the oldest with LayerNormalization
ML_OPSET = 3  # of ai.onnx.ml, for trees
IR_VERSION = 8  # goes with it


@dataclass
class Value:
    """A value of one image or more.

    Parameters
    ----------
    shape : without the batch; a map is (height, width, channels), as in Keras.
    last : its tensor with the axes in that order, '' where there is none yet.
    first : the same map as (n, channels, height, width), as ONNX's convolutions take it; '' where there is none.
    dtype : `float32`, `float16` or `uint8`.
    """

    shape: tuple[int, ...]
    last: str = ""
    first: str = ""
    dtype: str = "float32"

    @property
    def is_map(self) -> bool:
        return len(self.shape) == 3


@dataclass
class Graph:
    """Nodes and constants so far; `onnx` is the package, imported when it is needed."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    onnx: Any = field(default_factory=import_onnx)
    taken: dict[str, int] = field(default_factory=dict)
    opset: int = OPSET

    @classmethod
    def of(cls, model: Any) -> Graph:
        """The nodes of a model, to go on from."""
        graph = cls(list(model.graph.node), list(model.graph.initializer), list(model.graph.input))
        graph.opset = next(each.version for each in model.opset_import if not each.domain)
        names = [each.name for each in (*graph.constants, *graph.inputs)]
        graph.taken = dict.fromkeys([*names, *(name for node in graph.nodes for name in node.output)], 1)
        return graph

    def name(self, base: str) -> str:
        """A name that nothing else has."""
        name = base
        while name in self.taken:
            self.taken[base] += 1
            name = f"{base}:{self.taken[base]}"
        self.taken[name] = 1
        return name

    def constant(self, values: NDArray[Any] | Sequence[int] | float, base: str = "constant") -> str:
        """Name of a constant; sequences of whole numbers are int64, single numbers float32."""
        array = np.asarray(values)
        if not isinstance(values, np.ndarray):
            array = array.astype(np.int64 if isinstance(values, Sequence) else np.float32)
        tensor = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), self.name(base))
        self.constants.append(tensor)
        return str(tensor.name)

    def node(self, kind: str, inputs: Sequence[str], base: str = "", outputs: int = 1, **attributes: Any) -> str:
        """Add an operator; the name of its first output. Attributes that are None are left out."""
        return self.nodes_out(kind, inputs, base, outputs, **attributes)[0]

    def nodes_out(self, kind: str, inputs: Sequence[str], base: str = "", outputs: int = 1, **attributes: Any) -> list[str]:
        """As `node`, the names of all its outputs."""
        said = {name: value for name, value in attributes.items() if value is not None}
        names = [self.name(base or kind) for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, name=f"{names[0]}/{kind}", **said))
        return names

    def input(self, name: str, shape: Sequence[int | str], dtype: str) -> str:
        """Declare an input; axes with words are of any length."""
        kind = {"uint8": self.onnx.TensorProto.UINT8, "float32": self.onnx.TensorProto.FLOAT}[dtype]
        self.inputs.append(self.onnx.helper.make_tensor_value_info(self.name(name), kind, list(shape)))
        return name

    def reduce(self, kind: str, tensor: str, axes: Sequence[int], keep: bool, base: str) -> str:
        """ReduceMean, ReduceMax, ReduceL2; since opset 18 the axes are an input."""
        if self.opset < 18:
            return self.node(kind, [tensor], base, axes=list(axes), keepdims=int(keep))
        return self.node(kind, [tensor, self.constant(list(axes), f"{base}/axes")], base, keepdims=int(keep))

    def last(self, value: Value) -> str:
        """Its tensor with channels last."""
        if not value.last:
            value.last = self.node("Transpose", [value.first], f"{value.first}/last", perm=[0, 2, 3, 1])
        return value.last

    def first(self, value: Value) -> str:
        """Its tensor with channels first."""
        if not value.first:
            value.first = self.node("Transpose", [value.last], f"{value.last}/first", perm=[0, 3, 1, 2])
        return value.first

    def floats(self, value: Value) -> Value:
        """The same as float32."""
        return value if value.dtype == "float32" else self.cast(value, "float32")

    def cast(self, value: Value, dtype: str) -> Value:
        to = {"float32": self.onnx.TensorProto.FLOAT, "float16": self.onnx.TensorProto.FLOAT16}[dtype]
        return self.each(value, "Cast", dtype=dtype, to=to)

    def each(
        self, value: Value, kind: str, others: Sequence[str] = (), base: str = "", dtype: str = "", **attributes: Any
    ) -> Value:
        """An operator on each element, in the order of axes that is there; `others` are further inputs of any shape ()."""
        tensor = self.node(kind, [value.first or value.last, *others], base, **attributes)
        made = Value(value.shape, dtype=dtype or value.dtype)
        if value.first:
            made.first = tensor
        else:
            made.last = tensor
        return made

    def by_channel(self, value: Value, kind: str, numbers: NDArray[Any], base: str = "") -> Value:
        """An operator with one number for all, or one a channel: Mul, Add."""
        numbers = np.asarray(numbers, np.float32)
        if value.first and numbers.size > 1:
            numbers = numbers.reshape(-1, 1, 1)
        return self.each(value, kind, [self.constant(numbers, f"{base or kind}/numbers")], base)

    def model(self, output: str, shape: Sequence[int | str], metadata: Mapping[str, str]) -> Any:
        """The finished model with one output, checked.

        Raises
        ------
        onnx.checker.ValidationError : a node or shape that ONNX does not allow; an error of ours.
        """
        helper = self.onnx.helper
        kind = self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes, "predictor", self.inputs, [helper.make_tensor_value_info(output, kind, list(shape))], self.constants
        )
        domains = [helper.make_opsetid("", self.opset)]
        if any(node.domain for node in self.nodes):
            domains.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
        model = helper.make_model(graph, opset_imports=domains, producer_name="trunkline")
        model.ir_version = max(IR_VERSION, 9 if self.opset > 18 else 0, 10 if self.opset > 20 else 0)
        helper.set_model_props(model, dict(metadata))
        self.onnx.checker.check_model(model, full_check=True)
        return model
