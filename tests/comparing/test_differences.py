"""What differs between two runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.comparing.runs import classes, number, record
from trunkline.comparing.differences import Figure, compare

SOFTMAX, FOREST = {"kind": "softmax"}, {"kind": "forest"}


def test_equal_runs_differ_in_nothing():
    found = compare(record(), record())
    assert found.warnings == ["Both are the same run."]
    assert found.settings == []
    assert {each.difference for each in found.quantities} == {0}
    assert {figure.difference for pair in found.heads for figure in pair.figures} == {0}
    assert {figure.better for pair in found.heads for figure in pair.figures} == {None}


def test_settings_that_differ_are_listed():
    found = compare(record(), record("b", spec={"seed": 5, "precision": "bf16", "heads": [{"kind": "forest"}]}))
    changed = {each.name: (each.first, each.second) for each in found.settings}
    assert changed["precision"] == ("f32", "bf16")
    assert changed["heads.softmax.kind"] == ("softmax", "–")
    assert "heads.forest.kind" not in changed
    assert changed["seed"] == ("0", "5")
    assert "backbone" not in changed
    assert found.warnings == []


def test_quantities_are_subtracted_and_what_is_not_known_stays_unknown():
    second = record("b", images_per_second=None, rows=2100, seconds={"scan": 1.0, "polish": 2.0})
    found = {each.name: each for each in compare(record(), second).quantities}
    assert found["rows"].difference == 100
    assert np.isnan(found["images/s"].difference)
    assert (found["seconds of scan"].difference, found["seconds in all"].difference) == (0.5, -9.0)
    assert np.isnan(found["seconds of polish"].first)
    assert found["rows"].words == ("2,000", "2,100", "+100")
    assert found["ok"].words == ("1,990", "1,990", "0")
    assert found["images/s"].words == ("250.0", "–", "–")


def test_heads_are_paired_by_kind_and_order():
    first = record(heads=[SOFTMAX | classes(0.9), SOFTMAX | classes(0.7), FOREST | classes(0.8)])
    second = record("b", heads=[FOREST | classes(0.85), SOFTMAX | classes(0.95)])
    pairs = compare(first, second).heads
    assert [(pair.kind, pair.first is not None, pair.second is not None) for pair in pairs] == [
        ("softmax", True, True),
        ("softmax", True, False),
        ("forest", True, True),
    ]
    assert pairs[0].figures[0].name == "macro_f1"
    assert pairs[0].figures[0].difference > 0.02
    assert np.isnan(pairs[1].figures[0].difference)


@pytest.mark.parametrize(
    ("name", "first", "second", "better"),
    [
        ("macro_f1", 0.5, 0.6, True),
        ("macro_f1", 0.6, 0.5, False),
        ("log_loss", 0.6, 0.5, True),
        ("mae", 3, 4, False),
        ("spread", 3, 4, None),
        ("ece", float("nan"), 0.1, None),
        ("accuracy", 0.5, 0.5004, None),
        ("mae", 0.0001, 0.0004, False),
    ],
)
def test_better_depends_on_the_figure(name, first, second, better):
    assert Figure(name, first, second, None, None).better is better


@pytest.mark.parametrize(("second", "apart"), [((0.61, 0.7), True), ((0.3, 0.39), True), ((0.6, 0.7), False), (None, None)])
def test_intervals_are_apart_or_overlap(second, apart):
    assert Figure("accuracy", 0.5, 0.65, (0.4, 0.6), second).apart is apart


def test_what_a_reader_must_know_first_is_said():
    other = record("b", dataset="birds", feature_set="/other/features/birds/1", heads=[{"kind": "ridge"} | number()])
    assert compare(record(), other).warnings == [
        "The runs are of different stores: /data/features and /other.",
        "The runs are of different datasets, photos and birds: their figures are of different images.",
        "The heads have different kinds of targets, classes and regression: their figures do not measure the same.",
        "The heads were measured on different numbers of test images, 400 and 50.",
    ]


def test_the_summary_is_plain_json_without_nan():
    found = compare(record(), record("b", images_per_second=None, heads=[SOFTMAX | classes(0.99)])).summary()
    back = json.loads(json.dumps(found, allow_nan=False))
    assert (back["first"], back["second"]) == ("20261105T093000Z-0a1b", "b")
    assert back["quantities"]["images/s"] == {"first": 250.0, "second": None, "difference": None}
    softmax, forest = back["heads"]
    assert (softmax["figures"]["accuracy"]["better"], softmax["figures"]["accuracy"]["apart"]) == (True, True)
    assert forest["figures"]["accuracy"]["second"] is None
