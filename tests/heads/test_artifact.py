"""A head in the store: written whole, read back equal, and no head without `head.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import numpy as np
import pytest

from tests.heads.made import CLASSES, DIGITS, LABELS, PIXELS, TRAINING, VALUE, data_of, truth_as
from trunkline.errors import CorruptStore
from trunkline.fan_out import SerialExecutor
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact, Origin, Predictions
from trunkline.heads.linear import fit_linear
from trunkline.heads.protocol import Work
from trunkline.heads.targets import Target
from trunkline.locations import Location
from trunkline.metrics import measure
from trunkline.specs import SoftmaxSpec


@pytest.fixture
def saved(tmp_path):
    head = fit_linear(SoftmaxSpec(C=(0.001, 0.01)), data_of(), Work(SerialExecutor()))
    rows = np.arange(TRAINING, TRAINING + 100)
    truth, outputs = DIGITS[rows], head.outputs(PIXELS[rows])
    predictions = Predictions.of(CLASSES, rows, truth, outputs)
    made = HeadArtifact(
        location=Location.of(tmp_path / "head"),
        kind="softmax",
        target=Target("classes", ("größe/漢字\n", *(str(digit) for digit in range(1, 10)))),
        origin=Origin("recipe", "avg_pool", "masks/m.npz", "mask", SoftmaxSpec().model_dump(mode="json"), 0),
        metrics=measure("classes", truth, outputs, 10),
        chosen=head.chosen,
        notes=["a note"],
        candidates=list(head.candidates),
        seconds=1.5,
        training_rows=TRAINING,
        test_rows=100,
        left_out=2,
        sha256={},
    )
    place = Location.of(tmp_path / "predictions.parquet")
    return artifact.save(made, head, predictions, place), predictions, place


def test_everything_is_read_back(saved):
    made, predictions, place = saved
    found = artifact.load(made.location)
    assert found is not None
    for field in fields(HeadArtifact):
        if field.name not in ("metrics", "origin"):
            assert getattr(found, field.name) == getattr(made, field.name)
    assert json.dumps(asdict(found.origin)) == json.dumps(asdict(made.origin))
    assert found.metrics.to_json() == made.metrics.to_json()
    back = artifact.load_predictions(place)
    for field in fields(Predictions):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(predictions, field.name))
    assert made.location.names() == ["head.json", "linear.safetensors"]
    np.testing.assert_array_equal(found.opened().outputs(PIXELS[:5]), made.opened().outputs(PIXELS[:5]))


def test_a_head_without_its_last_file_does_not_exist(saved):
    made, _, _ = saved
    (made.location / "head.json").remove()
    assert artifact.load(made.location) is None


@pytest.mark.parametrize(
    "change", [{"kind": None}, {"metrics": None}, {"novelty": 1}, {"metrics": {"accuracy": 1}}, {"metrics": 3}]
)
def test_a_head_of_other_keys_is_corrupt(saved, change):
    made, _, _ = saved
    place = made.location / "head.json"
    said = json.loads(place.read()) | change
    place.write(json.dumps({name: value for name, value in said.items() if value is not None}).encode())
    with pytest.raises(CorruptStore, match=r"head/head\.json is damaged .*Delete it: the head is fitted again"):
        artifact.load(made.location)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff"])
def test_a_damaged_head_is_said(saved, content):
    made, _, _ = saved
    (made.location / "head.json").write(content)
    with pytest.raises(CorruptStore, match=r"head\.json is damaged"):
        artifact.load(made.location)


def test_damaged_predictions_are_said(saved):
    _, _, place = saved
    place.write(place.read()[:-10])
    with pytest.raises(CorruptStore, match=r"predictions\.parquet cannot be read as Parquet"):
        artifact.load_predictions(place)


def test_a_head_of_an_earlier_format_is_none(tmp_path):
    (Location.of(tmp_path) / "head.json").write(json.dumps({"kind": "softmax", "classes": ["a"], "metrics": {}}).encode())
    assert artifact.load(Location.of(tmp_path)) is None


@pytest.mark.parametrize("damage", [lambda place: place.write(place.read()[:-1]), lambda place: place.remove()])
def test_a_file_that_is_not_what_was_written_is_said(saved, damage):
    made, _, _ = saved
    damage(made.location / "linear.safetensors")
    with pytest.raises(
        CorruptStore, match=r"linear\.safetensors is damaged or missing\. Delete .*head: the head is fitted again"
    ):
        made.opened()


@pytest.mark.parametrize("target", [LABELS, VALUE], ids=lambda target: target.kind)
def test_predictions_of_labels_and_values_are_read_back(tmp_path, target):
    outputs = np.random.default_rng(0).uniform(size=(20, target.outputs))
    made = Predictions.of(target, np.arange(20), truth_as(target, DIGITS[:20]), outputs)
    place = Location.of(tmp_path / "p.parquet")
    place.write(made.to_bytes())
    back = artifact.load_predictions(place)
    for field in fields(Predictions):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(made, field.name))
