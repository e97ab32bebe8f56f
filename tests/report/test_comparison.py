"""The page of two runs: well-formed, self-contained, unharmed by hostile text, and right about what differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.comparing.runs import classes, number, record
from tests.report.examples import HOSTILE, LONG, Document
from tests.report.test_browser import CHROMIUM, asked
from trunkline.comparing.differences import Comparison, compare
from trunkline.report.comparison import render, verdict


def better() -> Comparison:
    heads = [{"kind": "softmax"} | classes(0.99), {"kind": "forest"} | classes(0.81, seed=3)]
    return compare(record(), record("20261106T093000Z-ffff", heads=heads, spec={"backbone": "resnet50", "seed": 1}))


def numbers() -> Comparison:
    return compare(record(heads=[{"kind": "ridge"} | number()]), record("b", heads=[{"kind": "ridge"} | number()]))


def hostile() -> Comparison:
    heads = [{"kind": HOSTILE + LONG} | classes(0.5)]
    names = {HOSTILE: LONG, LONG: HOSTILE}
    bad = record(HOSTILE, heads=heads, dataset=LONG, feature_set=HOSTILE + LONG, spec=names, seconds={HOSTILE: 1.0})
    return compare(record(), bad)


def nothing() -> Comparison:
    return compare(record(heads=[]), record(heads=[], images_per_second=None))


EXAMPLES = [better, numbers, hostile, nothing]


@pytest.mark.parametrize("example", EXAMPLES)
def test_nothing_is_fetched_and_nothing_runs(example):
    document = Document(render(example()))
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in document.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    (policy,) = [a["content"] for _, a in document.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert "script-src 'none'" in policy


def test_hostile_text_is_shown_not_obeyed():
    text = render(hostile())
    document = Document(text)
    assert "<script" not in text
    for section in ("top", "heads", "spec", "work"):
        assert "<script>alert('1')</script>" in document.text(section)
    assert "\u202e" not in text


def test_figures_stand_side_by_side():
    found = better()
    text = Document(render(found)).text("heads")
    softmax, _ = found.heads
    figure = softmax.figures[0]
    assert (
        f"macro-F1 {figure.first:.3f} {figure.first_interval[0]:.3f}–{figure.first_interval[1]:.3f} {figure.second:.3f}" in text
    )
    assert f"+{figure.difference:.3f} better, apart" in text
    assert "backbone efficientnet-lite0 resnet50" in Document(render(found)).text("spec")
    assert "images/s 250.0 250.0 0.0" in Document(render(found)).text("work")


def test_the_verdict_says_whether_it_may_be_chance():
    said = verdict(better())
    assert "softmax: 0." in said
    assert "better, beyond the intervals" in said
    assert "within the intervals: it may be chance" in said
    assert verdict(nothing()) == "The runs have no head in common."
    assert verdict(numbers()).endswith("the same.")
    assert "Neither run has a head." in Document(render(nothing())).text("heads")


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_same_comparison_gives_the_same_page(example):
    assert render(example()) == render(example())


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_phone_need_not_scroll_sideways(example, tmp_path: Path):
    client, scroll = asked(render(example()), "const e = d.documentElement; answer([e.clientWidth, e.scrollWidth])", tmp_path)
    assert 370 <= client <= 390
    assert scroll <= client
