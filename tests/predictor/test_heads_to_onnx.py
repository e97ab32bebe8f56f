"""Every kind of head, really fitted, answers as ONNX operators and as dense layers what it answers itself."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tests.heads.made import CLASSES, LABELS, PIXELS, TRAINING, VALUE, data_of
from trunkline.errors import BackboneError
from trunkline.fan_out import SerialExecutor
from trunkline.heads.catalogue import fit_head, load_head
from trunkline.heads.neighbours import Neighbours
from trunkline.heads.opening import OpenHead
from trunkline.heads.protocol import FittedHead, Work
from trunkline.heads.standard import Standard
from trunkline.heads.targets import Target
from trunkline.predictor import head_graph
from trunkline.predictor.dense_chain import chain_of
from trunkline.predictor.head_graph import append_head, output_of
from trunkline.predictor.onnx_graph import Graph
from trunkline.specs import (
    BoostedSpec,
    CentroidSpec,
    ForestSpec,
    HeadSpec,
    MlpSpec,
    NeighboursSpec,
    RidgeSpec,
    SoftmaxSpec,
    SvmSpec,
    TreeSpec,
)

COLUMNS = np.zeros(90, bool)
COLUMNS[np.random.default_rng(0).permutation(90)[: PIXELS.shape[1]]] = True
SPECS: tuple[HeadSpec, ...] = (
    SoftmaxSpec(C=(0.01,)),
    SvmSpec(C=(0.001,)),
    RidgeSpec(alpha=(10.0,)),
    CentroidSpec(),
    NeighboursSpec(k=(5,)),
    NeighboursSpec(k=(4,), metric="euclidean"),
    TreeSpec(),
    ForestSpec(trees=(7,)),
    BoostedSpec(rounds=(6,)),
    MlpSpec(widths=((12, 6),), epochs=3),
)
CASES = [(spec, target) for spec in SPECS for target in (CLASSES, LABELS, VALUE) if target.kind in spec.TARGETS]
NAMES = [f"{spec.kind}-{getattr(spec, 'metric', '')}-{target.kind}" for spec, target in CASES]


def wide(x: np.ndarray) -> np.ndarray:
    """All columns of a layer, of which the head keeps some; the others hold what would show."""
    out = np.full((len(x), len(COLUMNS)), 1e6, np.float32)
    out[:, COLUMNS] = x
    return out


def opened(fitted: FittedHead, kind: str, target: Target) -> OpenHead:
    return OpenHead(f"{kind}-0", kind, target, "avg_pool", COLUMNS, "m", "r", fitted)


def by_onnx(head: OpenHead, features: np.ndarray, opset: int = 17) -> np.ndarray:
    graph = Graph()
    graph.opset = opset
    append_head(graph, graph.input("features", ["n", features.shape[1]], "float32"), head)
    model = graph.model(output_of(head), ["n", head.target.outputs], {})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output_of(head)], {"features": features})[0]


@pytest.mark.parametrize(("spec", "target"), CASES, ids=NAMES)
def test_every_kind_and_target(spec: HeadSpec, target: Target):
    fitted = fit_head(spec, data_of(target), Work(SerialExecutor(threads=1)))
    head = opened(load_head(spec.kind, fitted.files(), target), spec.kind, target)
    x = PIXELS[TRAINING : TRAINING + 300]
    expected = head.fitted.outputs(x)
    got = by_onnx(head, wide(x))
    assert got.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max())) if target.kind == "regression" else 1.0
    np.testing.assert_allclose(got, expected, atol=2e-6 * scale, rtol=0)
    if not chain_of(head):
        return
    values = wide(x).astype(np.float64)
    for layer in chain_of(head):
        assert (layer.weights.dtype, layer.bias.dtype) == (np.float32, np.float32)
        values = values @ layer.weights + layer.bias
        values = np.maximum(values, 0) if layer.activation == "relu" else values
    places = values.argmax(axis=1) if target.kind == "classes" else values
    agreed = expected.argmax(axis=1) if target.kind == "classes" else values
    np.testing.assert_array_equal(places, agreed)
    assert not chain_of(head)[0].weights[~COLUMNS].any()


def test_newer_opsets_take_axes_as_inputs():
    fitted = fit_head(NeighboursSpec(k=(5,)), data_of(CLASSES), Work(SerialExecutor(threads=1)))
    head = opened(fitted, "knn", CLASSES)
    x = PIXELS[TRAINING : TRAINING + 50]
    np.testing.assert_allclose(by_onnx(head, wide(x), 20), by_onnx(head, wide(x)), atol=1e-6)


def test_thresholds_between_two_float32_keep_their_side():
    from sklearn.tree import DecisionTreeRegressor

    from trunkline.heads.trees import Trees

    one = np.float32(1.0)
    after = np.nextafter(one, np.float32(2.0))
    x = np.zeros((40, PIXELS.shape[1]), np.float32)
    x[:20, 0], x[20:, 0] = one, after
    model = DecisionTreeRegressor().fit(x, np.repeat([0.0, 1.0], 20))
    head = opened(Trees(model, VALUE), "tree", VALUE)
    assert model.tree_.threshold[0] not in (one, after)  # float64, between the two
    np.testing.assert_array_equal(by_onnx(head, wide(x))[:, 0], head.fitted.outputs(x)[:, 0])


def test_what_has_no_form_in_onnx_is_refused(monkeypatch: pytest.MonkeyPatch):
    class Odd:
        chosen, notes, candidates = {}, (), ()

    with pytest.raises(BackboneError, match=r"A head of the kind odd has no form in ONNX here"):
        append_head(Graph(), "features", opened(Odd(), "odd", CLASSES))  # type: ignore[arg-type]
    monkeypatch.setattr(head_graph, "MAX_REFERENCES", 100)
    ones = np.ones(64, np.float32)
    many = Neighbours(Standard(ones, ones), np.ones((9, 64), np.float32), np.zeros(9, np.int64), 1, "cosine", CLASSES)
    with pytest.raises(BackboneError, match=r"This knn head holds .* of training features"):
        append_head(Graph(), "features", opened(many, "knn", CLASSES))


def test_names_stay_apart_where_a_graph_is_gone_on_with():
    graph = Graph()
    features = graph.input("features", ["n", 4], "float32")
    made = features
    for number in range(3):
        made = graph.node("Add", [made, graph.constant(float(number))])
    graph.node("Identity", [made], "out")
    again = Graph.of(graph.model("out", ["n", 4], {}))
    more = again.node("Mul", ["out", again.constant(2.0)], "Add")
    again.node("Identity", [more], "end")
    model = again.model("end", ["n", 4], {"name": "value"})
    names = [each.name for each in model.graph.initializer] + [name for node in model.graph.node for name in node.output]
    assert len(set(names)) == len(names) == 10
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"features": np.ones((1, 4), np.float32)})[0], np.full((1, 4), 8.0))
