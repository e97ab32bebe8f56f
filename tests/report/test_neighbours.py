"""The page of similar images: one file, nothing from outside, whatever the names hold."""

from __future__ import annotations

from tests.report.examples import HOSTILE, LONG, Document
from trunkline.report.neighbours import Alike, Neighbour, render, verdict

JPEG = b"\xff\xd8\xff"


def alike(**changes: object) -> Alike:
    said = {
        "name": HOSTILE,
        "row": 1234,
        "label": LONG,
        "jpeg": JPEG,
        "dataset": HOSTILE,
        "feature_set": f"/store/{HOSTILE}",
        "layer": "pool",
        "columns": 5,
        "width": 9,
        "metric": "cosine",
        "rows": 2000,
        "neighbours": [
            Neighbour(7, HOSTILE, LONG, 0.123456, JPEG),
            Neighbour(8, LONG, HOSTILE, 0.5, None, "missing"),
            Neighbour(9, "c", None, 1.0, JPEG),
        ],
    }
    return Alike(**{**said, **changes})  # type: ignore[arg-type]


def test_nothing_comes_from_outside_and_no_script_runs():
    page = Document(render(alike()))
    assert not [tag for tag, _ in page.elements if tag in ("script", "iframe", "object", "form")]
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:"), attributes
    policies = [each["content"] for _, each in page.elements if each.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'none'; base-uri 'none'; form-action 'none'"
    ]


def test_each_neighbour_has_its_distance_label_row_and_reason():
    text = Document(render(alike())).text("nearest")
    for words in ("0.1235", "row 7", "missing", "no label", "row 9"):
        assert words in text


def test_labels_that_differ_are_marked():
    marked = [each for tag, each in Document(render(alike(label="b"))).elements if each.get("class") == "taken"]
    assert len(marked) == 2
    unknown = Document(render(alike(label=None, row=None)))
    assert not [each for _, each in unknown.elements if each.get("class") == "taken"]
    assert "not one of" in unknown.text("top")


def test_the_sentence_above():
    assert verdict(alike()) == (
        "The 3 nearest of 2,000 images, by cosine distance of 5 of 9 features (pool); 1 of them has its label. 1 cannot be shown."
    )
    whole = alike(columns=9, label=None, neighbours=[Neighbour(1, "a", None, 0.0, JPEG)])
    assert verdict(whole) == "The 1 nearest of 2,000 images, by cosine distance of 9 features (pool)."


def test_the_same_data_give_the_same_page():
    assert render(alike()) == render(alike())
