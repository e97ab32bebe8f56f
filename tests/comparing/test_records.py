"""Records of runs are read whole, old ones too, and nothing odd passes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.comparing.runs import record, said
from trunkline.comparing.records import RunRecord


def test_a_record_is_read_whole():
    found = record()
    assert (found.run, found.dataset, found.store) == ("20261105T093000Z-0a1b", "photos", "/data/features")
    assert found.counts == {
        "rows": 2000,
        "ok": 1990,
        "quarantined": 10,
        "pending": 0,
        "extracted": 2000,
        "reused": 0,
        "features in all": 1280,
        "features kept": 996,
    }
    assert (found.seconds["extract"], found.images_per_second) == (8.0, 250.0)
    heads = [(head.kind, head.targets, head.rows) for head in found.heads]
    assert heads == [("softmax", "classes", 400), ("forest", "classes", 400)]
    assert found.heads[0].figures["macro_f1"] == said()["heads"][0]["macro_f1"]
    assert found.heads[0].intervals["accuracy"] == tuple(said()["heads"][0]["intervals"]["accuracy"])
    assert found.spec["backbone"] == "efficientnet-lite0"
    assert "select.relative_threshold" in found.spec
    assert found.spec["heads.softmax.kind"] == "softmax"


def test_heads_are_named_by_kind_and_twins_by_number():
    heads = [{"kind": "softmax", "C": 1}, {"kind": "forest"}, {"kind": "softmax", "C": 2}, {"C": 3}, 4]
    found = {name: value for name, value in record(spec={"heads": heads}).spec.items() if name.startswith("heads")}
    assert found == {
        "heads.1.kind": "softmax",
        "heads.1.C": "1",
        "heads.forest.kind": "forest",
        "heads.3.kind": "softmax",
        "heads.3.C": "2",
        "heads.4.C": "3",
        "heads.5": "4",
    }


def test_a_run_from_before_heads_had_more_figures_is_read():
    old = said(heads=[{"kind": "softmax", "accuracy": 0.5, "macro_f1": 0.4}], images_per_second=None)
    found = RunRecord.of_json(json.dumps(old).encode())
    (head,) = found.heads
    assert (head.targets, head.rows, head.figures, head.intervals) == ("classes", 0, {"macro_f1": 0.4, "accuracy": 0.5}, {})
    assert np.isnan(found.images_per_second)


ODD = [
    ({"rows": -1}, "rows is -1, which is no count"),
    ({"rows": "many"}, "rows is 'many', which is no count"),
    ({"run": 3}, "run is no text of at most 4,096 characters"),
    ({"run": "x" * 5000}, "run is no text of at most"),
    ({"seconds": [1]}, "seconds is no mapping"),
    ({"seconds": {"scan": "long"}}, "seconds.scan is 'long', which is no number"),
    ({"heads": {}}, "heads is no list"),
    ({"heads": [3]}, "heads is no mapping"),
    ({"heads": [{"kind": "x", "accuracy": "y"}]}, "accuracy is 'y', which is no number"),
    ({"features": None}, "features is no mapping"),
    ({"spec": {"a": {str(i): i for i in range(1100)}}}, "spec holds more than 1,000 settings"),
]


@pytest.mark.parametrize(("changes", "words"), ODD)
def test_what_is_odd_is_said(changes, words):
    with pytest.raises(ValueError, match=words):
        RunRecord.of_json(json.dumps(said() | changes).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_what_is_no_json_of_a_run_is_said(content):
    with pytest.raises(ValueError, match=r"Expecting|no mapping|utf-8|nested too deeply"):
        RunRecord.of_json(content)


def test_what_is_missing_is_a_key_error():
    with pytest.raises(KeyError, match="features"):
        RunRecord.of_json(b"{}")


def test_long_and_deep_settings_are_cut_short():
    deep: dict = {}
    inner = deep
    for _ in range(50):
        inner["a"] = {}
        inner = inner["a"]
    found = record(spec={"backbone": "x" * 9000, "deep": deep})
    assert len(found.spec["backbone"]) == 4097
    assert found.spec["deep.a.a.a.a.a"].startswith('{"a": {"a"')
