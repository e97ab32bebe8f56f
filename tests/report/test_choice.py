"""The page of a comparison: well-formed, self-contained, unharmed by hostile text, readable on a phone, in light and dark."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.examples import HOSTILE, LONG, Document
from tests.report.test_browser import CHROMIUM, asked
from trunkline.probing.choice import Choice
from trunkline.probing.ranking import CutScore, NetworkScore, front, sentence
from trunkline.report import charts
from trunkline.report.choice import render

NETWORKS = (("efficientnet-lite0", 300, 0.76), ("efficientnet-lite0@160:gem", 600, 0.74), ("efficientnet-lite2", 120, 0.795))


def cut(entry: str, number: int, f1: float, speed: float, last: bool = False) -> CutScore:
    layer = "avg_pool" if last else f"block{number}_project_bn"
    scores = (f1, 0.011, -0.2 + f1 / 10, 5 * f1, 0.1)
    return CutScore(
        entry, entry.split("@")[0], 224, "avg", layer, 40 * number, *scores, speed, 0.9 * speed, 800_000 * number, last
    )


def choice_of(cuts: list[CutScore], **more: object) -> Choice:
    best = sorted(cuts, key=lambda each: -each.f1)
    own = [NetworkScore("efficientnet-lite0", -1.2, -1.5, 2.0, 5.0, 1000)]
    said = sentence(best)
    made = Choice(
        "/data/photos", 6_000, 10, 2_000, {}, [], best, own, said, "trunkline run --source /data/photos", [], 4e-4, 2, "", 12.0
    )
    return replace(made, **more)


def better() -> Choice:
    """Three networks, seventeen cuts each, whose later cuts are better and slower."""
    noise = random.Random(0)
    cuts = [
        cut(entry, k, top - 0.5 / k**0.9 + 0.02 * noise.random(), speed * (18 / k) ** 0.6, k == 17)
        for entry, speed, top in NETWORKS
        for k in range(1, 18)
    ]
    return choice_of(cuts, warnings=["Small images: 32 pixels."], left_out={"truncated": 3}, too_few=["zebra"])


def one() -> Choice:
    return choice_of([cut("resnet50", 3, 0.5, 20.0)], networks=[])


def many() -> Choice:
    """More networks than there are hues."""
    return choice_of([cut(f"network-{n}", k, 0.02 * n + 0.01 * k, 1e-3 * 10**k) for n in range(23) for k in range(3)])


def hostile() -> Choice:
    bad = replace(cut(HOSTILE, 2, 0.7, 40.0), layer=HOSTILE + LONG)
    worse = replace(cut(LONG, 1, 0.2, 90.0), layer="$x_1^2$", logme=math.nan, h_score=math.nan)
    return choice_of([bad, worse], source=HOSTILE + LONG, warnings=[HOSTILE, LONG], too_few=[HOSTILE], command=HOSTILE + LONG)


EXAMPLES = [better, one, many, hostile]


@pytest.mark.parametrize("example", EXAMPLES)
def test_nothing_is_fetched_and_nothing_runs(example):
    document = Document(render(example()))
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in document.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    (policy,) = [a["content"] for _, a in document.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert "script-src 'none'" in policy


def test_hostile_text_is_shown_not_obeyed():
    text = render(hostile())
    assert "<script" not in text
    for section in ("top", "notes", "cuts"):
        assert "<script>alert('1')</script>" in Document(text).text(section)
    assert "\u202e" not in text


def test_recommendation_scores_and_notes_stand_on_it():
    choice = better()
    page = Document(render(choice))
    assert choice.sentence in page.text("top")
    assert choice.command in page.text("top")
    assert "Small images: 32 pixels. Left out of the sample: 3 truncated." in page.text("notes")
    use = choice.use
    assert f"{use.entry} {use.layer} recommended {use.f1:.3f} ± {use.spread:.3f} " in page.text("cuts")
    assert page.text("cuts").count(" front ") == len(front(choice.cuts)) - (use in front(choice.cuts))
    assert "efficientnet-lite0 -1.200 -1.500 2.00 5.00" in page.text("networks")


def test_without_a_classifier_there_is_no_such_section():
    assert "networks" not in Document(render(one())).texts


def test_the_plot_names_the_recommended_cut_and_takes_the_page_s_colours():
    plot = charts.pareto(better().cuts)
    assert plot is not None
    assert f">{better().use.layer}</text>" in plot
    for hue in range(3):
        assert f"var(--c{hue})" in plot
    assert "#0601" not in plot
    assert charts.pareto([]) is None
    assert charts.pareto([replace(one().cuts[0], f1=math.nan)]) is None


def test_the_same_comparison_gives_the_same_page():
    assert render(better()) == render(better())


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_phone_need_not_scroll_sideways(example, tmp_path: Path):
    client, scroll = asked(render(example()), "const e = d.documentElement; answer([e.clientWidth, e.scrollWidth])", tmp_path)
    assert 370 <= client <= 390
    assert scroll <= client
