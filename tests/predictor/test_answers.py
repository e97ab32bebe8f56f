"""Answers: names, probabilities and values, and files of them that say the same."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trunkline.errors import SpecError
from trunkline.heads.targets import Target
from trunkline.predictor.answer_files import opened, suffix_in, table_of
from trunkline.predictor.answers import columns_of, counts_of, fields_of
from trunkline.predictor.new_images import NewImage

CLASSES = Target("classes", ("cat", "dog"))
LABELS = Target("multilabel", ("big", "old", "red"))
VALUE = Target("regression", ("value",))
OUTPUTS = {
    CLASSES: np.array([[0.75, 0.25], [0.125, 0.875]]),
    LABELS: np.array([[0.75, 0.25, 0.5], [0.125, 0.25, 0.125]]),
    VALUE: np.array([[2.5], [-1.0]]),
}
SAID = {
    CLASSES: [
        {"predicted": "cat", "probability": 0.75, "probabilities": [0.75, 0.25]},
        {"predicted": "dog", "probability": 0.875, "probabilities": [0.125, 0.875]},
    ],
    LABELS: [
        {"labels": ["big", "red"], "probabilities": [0.75, 0.25, 0.5]},
        {"labels": [], "probabilities": [0.125, 0.25, 0.125]},
    ],
    VALUE: [{"value": 2.5}, {"value": -1.0}],
}
IMAGES = [
    NewImage("a.jpg", "/x/a.jpg", np.zeros(1, np.float32)),
    NewImage("bäd.jpg", "/x/bäd.jpg", None, "truncated", 'ends, "early"'),
    NewImage("b.jpg", "/x/b.jpg", np.zeros(1, np.float32)),
]


@pytest.mark.parametrize("target", OUTPUTS, ids=lambda target: target.kind)
def test_tables(target: Target):
    schema = pa.schema(fields_of(target))
    table = pa.table(columns_of(target, OUTPUTS[target]), schema=schema)
    assert table.to_pylist() == SAID[target]
    assert pa.table(columns_of(target, np.empty((0, target.outputs))), schema=schema).num_rows == 0


def test_counts():
    assert counts_of(CLASSES, OUTPUTS[CLASSES]).tolist() == [1, 1]
    assert counts_of(LABELS, OUTPUTS[LABELS]).tolist() == [1, 0, 1]
    assert counts_of(VALUE, OUTPUTS[VALUE]).tolist() == [2]


@pytest.mark.parametrize("target", OUTPUTS, ids=lambda target: target.kind)
def test_an_unreadable_image_has_its_reason_and_no_answer(target: Target):
    rows = table_of(target, IMAGES, OUTPUTS[target]).to_pylist()
    answers = [{name: row[name] for name in SAID[target][0]} for row in rows]
    assert [answers[0], answers[2]] == SAID[target]
    assert set(map(str, answers[1].values())) == {"None"}
    assert [row["reason"] for row in rows] == ["", "truncated", ""]


@pytest.mark.parametrize("target", OUTPUTS, ids=lambda target: target.kind)
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json"])
def test_files_say_the_same(tmp_path: Path, target: Target, suffix: str):
    table, path = table_of(target, IMAGES, OUTPUTS[target]), tmp_path / "answers"
    with opened(path, suffix, target, {"trunkline.head": "softmax-0"}) as file:
        file.write(table)
        file.write(table.slice(0, 1))
    expected = [*table.to_pylist(), table.to_pylist()[0]]
    if suffix == ".parquet":
        assert pq.read_table(path).to_pylist() == expected
        assert pq.read_schema(path).metadata[b"trunkline.head"] == b"softmax-0"
    elif suffix == ".json":
        for row in expected:
            if row.get("probabilities"):
                row["probabilities"] = dict(zip(target.names, row["probabilities"], strict=True))
        assert json.loads(path.read_text()) == expected
    else:
        with path.open(newline="") as text:
            rows = list(csv.DictReader(text))
        assert [row["id"] for row in rows] == ["a.jpg", "bäd.jpg", "b.jpg", "a.jpg"]
        assert rows[1]["detail"] == 'ends, "early"'
        first = {"classes": ("predicted", "cat"), "multilabel": ("labels", "big|red"), "regression": ("value", "2.5")}
        name, value = first[target.kind]
        assert (rows[0][name], rows[1][name]) == (value, "")
        if target.kind != "regression":
            assert (rows[0][f"p({target.names[0]})"], rows[1][f"p({target.names[0]})"]) == ("0.75", "")


def test_a_json_file_without_answers_is_an_empty_list(tmp_path: Path):
    with opened(tmp_path / "a", ".json", CLASSES, {}):
        pass
    assert json.loads((tmp_path / "a").read_text()) == []


def test_a_file_of_another_kind_is_refused():
    assert suffix_in("s3://b/answers.CSV") == ".csv"
    with pytest.raises(SpecError, match=r"What format is answers\.xlsx\? Its suffix is none of \.csv, \.json, \.parquet"):
        suffix_in("answers.xlsx")
