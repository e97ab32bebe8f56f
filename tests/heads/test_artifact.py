"""A head in the store: written whole, read back equal, and no head without `head.json`."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trunkline.errors import CorruptStore
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact, Predictions
from trunkline.heads.forest import fit_forest
from trunkline.locations import Location
from trunkline.metrics import Metrics
from trunkline.specs import ForestSpec

DATA = load_digits()
PIXELS, DIGITS = DATA.data.astype(np.float32), DATA.target.astype(np.int64)


@pytest.fixture
def saved(tmp_path):
    forest = fit_forest(PIXELS[:300], DIGITS[:300], 10, ForestSpec(trees=3), seed=0)
    probabilities = forest.probabilities(PIXELS[300:400])
    predicted = probabilities.argmax(axis=1)
    predictions = Predictions(np.arange(300, 400), DIGITS[300:400], predicted, probabilities.max(axis=1))
    metrics = Metrics.of(DIGITS[300:400], predicted, 10)
    classes = ["größe/漢字\n", *(str(digit) for digit in range(1, 10))]
    made = HeadArtifact(Location.of(tmp_path / "head"), "forest", classes, metrics, forest.chosen, 1.5, 300, 100, 2)
    place = Location.of(tmp_path / "predictions.parquet")
    artifact.save(made, forest, predictions, place)
    return made, predictions, place


def test_everything_is_read_back(saved):
    made, predictions, place = saved
    found = artifact.load(made.location)
    assert found is not None
    for field in fields(HeadArtifact):
        if field.name != "metrics":
            assert getattr(found, field.name) == getattr(made, field.name)
    assert found.metrics.to_json() == made.metrics.to_json()
    back = artifact.load_predictions(place)
    for field in fields(Predictions):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(predictions, field.name))
    assert made.location.names() == ["forest.skops", "head.json"]


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
    with pytest.raises(CorruptStore, match=r"head/head\.json is damaged\. Delete it: the head is fitted again"):
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
