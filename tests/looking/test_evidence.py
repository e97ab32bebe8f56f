"""Evidence: class-activation maps add up to the head's own score; occlusion finds what an answer hangs on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.made_heads import with_head
from tests.stores import copy_of
from trunkline import open_features
from trunkline.backbones.compiled import compiled
from trunkline.heads.linear_head import Activation, LinearHead
from trunkline.heads.opening import OpenHead
from trunkline.heads.standard import Standard
from trunkline.heads.targets import Target
from trunkline.images import load
from trunkline.locations import Location
from trunkline.looking.evidence import class_activation, is_linear, occlusion
from trunkline.looking.explaining import explain
from trunkline.stages.predict import head_of

RANDOM = np.random.default_rng(0)
KINDS = {"softmax": "classes", "sigmoid": "multilabel", "identity": "regression"}


def head_of_kind(activation: Activation, outputs: int, channels: int = 9) -> OpenHead:
    columns = np.arange(channels) % 3 != 0
    kept = int(columns.sum())
    standard = Standard(RANDOM.normal(size=kept).astype(np.float32), RANDOM.uniform(0.5, 2, kept).astype(np.float32))
    fitted = LinearHead(standard, RANDOM.normal(size=(kept + 1, outputs)) + 0.7, activation)
    target = Target(KINDS[activation], tuple(f"class {number}" for number in range(outputs)))  # type: ignore[arg-type]
    return OpenHead("made-0", "softmax", target, "pool", columns, "m", "r", fitted)


def scores(outputs: np.ndarray, activation: Activation) -> np.ndarray:
    """What the activation was taken of; of a softmax up to what all classes share."""
    match activation:
        case "softmax":
            return np.log(outputs) - np.log(outputs).mean()
        case "sigmoid":
            return np.log(outputs / (1 - outputs))
        case "identity":
            return outputs


@pytest.mark.parametrize(("activation", "outputs"), [("softmax", 4), ("softmax", 2), ("sigmoid", 3), ("identity", 1)])
def test_a_map_adds_up_to_the_score(activation: Activation, outputs: int):
    head = head_of_kind(activation, outputs)
    maps = RANDOM.normal(size=(5, 7, 9)).astype(np.float32)
    expected = scores(head.outputs(maps.mean(axis=(0, 1))[None])[0], activation)
    intercepts = head.fitted.weights[-1]  # type: ignore[attr-defined]
    if activation == "softmax":
        intercepts = intercepts - intercepts.mean()
    for output in range(outputs):
        found = class_activation(head, maps, output)
        assert (found.output, found.values.shape) == (output, (5, 7))
        assert found.values.mean() + intercepts[output] == pytest.approx(expected[output], abs=1e-5)


def test_what_all_classes_share_changes_no_map():
    head = head_of_kind("softmax", 4)
    maps = RANDOM.normal(size=(3, 3, 9)).astype(np.float32)
    before = class_activation(head, maps, 1).values
    head.fitted.weights[:] += np.arange(len(head.fitted.weights))[:, None]  # type: ignore[attr-defined]
    np.testing.assert_allclose(class_activation(head, maps, 1).values, before, atol=1e-9)


def test_occlusion_finds_what_the_answer_hangs_on():
    pixels = np.zeros((50, 50, 3), np.uint8)
    pixels[5:15, 35:45] = 255  # the answer is how bright the second row of tenths is, on the right
    seen = []

    def outputs(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape)
        bright = images[:, 5:15, 35:45].mean(axis=(1, 2, 3)) / 255
        return np.stack([bright, 1 - bright], axis=1)

    first, second = occlusion(outputs, pixels, [0, 1])
    assert seen == [(82, 50, 50, 3)]
    assert (first.output, second.output, first.values.shape) == (0, 1, (10, 10))
    assert np.unravel_index(first.values.argmax(), (10, 10)) == (1, 7)
    assert first.values[5:].max() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(second.values, -first.values)
    assert (pixels[5:15, 35:45] == 255).all(), "the image itself stays as it is"


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


@pytest.mark.parametrize(("target", "method"), [("classes", 2), ("multilabel", 2), ("regression", 1)])
def test_a_real_network_and_head_are_explained_exactly(store: Path, compiled_lite0, lite0_order, target, method):
    name = with_head(store, target=target, digest="00000000000000aa").name
    features, head = head_of(str(store), name)
    row = features.rows("test")[:1]
    listed = features.snapshot.listed(row).to_pylist()[0]
    pixels = load(features.dataset.source.read(**{"image_id": listed.pop("id"), **listed}), features.recipe)
    label = str(features.labels(row)[0])
    backbone = compiled(Location.of(compiled_lite0), lite0_order)
    found = explain(backbone, "openvino", features.recipe, head, pixels, label)
    assert (found.method, len(found.evidence), len(found.titles)) == ("class activation", method, method)
    outputs = head.outputs(open_features(store).read(row))[0]
    answers = [each.get("probability", each.get("value")) for each in found.answers]
    np.testing.assert_allclose(answers, np.sort(outputs)[::-1][: len(answers)], atol=1e-4)
    assert found.evidence[0].values.shape == (7, 7)
    expected = scores(outputs, head.fitted.activation)[found.evidence[0].output]  # type: ignore[attr-defined]
    intercepts = head.fitted.weights[-1]  # type: ignore[attr-defined]
    intercepts = intercepts - intercepts.mean() if target == "classes" else intercepts
    assert found.evidence[0].values.mean() + intercepts[found.evidence[0].output] == pytest.approx(expected, abs=1e-3)
    words = {
        "classes": (f"for {label}: ", "predicted ", "above the average of all classes"),
        "multilabel": ("for ", "predicted ", "7 x 7: what raises the score."),
        "regression": ("for a higher value than ", "value ", "7 x 7: what raises the score."),
    }[target]
    assert any(title.startswith(words[0]) for title in found.titles)
    assert found.said.startswith(words[1])
    assert words[2] in found.caption
    assert is_linear(head)
