"""The page: well-formed, self-contained, unharmed by hostile text, and right about its figures."""

from __future__ import annotations

import ast
import base64
import hashlib
import re
import time
from dataclasses import replace

import numpy as np
import pytest

from tests.report import examples
from tests.report.examples import Document, drawn, drawn_once
from trunkline.accounting import RowCounts
from trunkline.report import heads, page, verdict, words
from trunkline.report.data import Effect, Heat, Mistake, Quarantined

EXAMPLES = [
    examples.digits,
    examples.everything,
    examples.labels,
    examples.numbers,
    examples.many_classes,
    examples.hostile,
    examples.empty,
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_tag_is_closed_and_every_id_is_unique(example):
    document = drawn_once(example)
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("example", EXAMPLES)
def test_nothing_is_fetched_and_no_script_runs_but_ours(example):
    document = drawn_once(example)
    scripts = [attributes for tag, attributes in document.elements if tag == "script"]
    assert scripts in ([], [{}])
    for tag, attributes in document.elements:
        assert tag not in ("iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    style = document.texts["top"] + document.texts[""]
    assert "@import" not in style
    assert re.findall(r"url\((?!#)", style) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_policy_lets_no_other_script_run(example):
    text = page.render(example())
    document = Document(text)
    (policy,) = [a["content"] for _, a in document.elements if a.get("http-equiv") == "Content-Security-Policy"]
    found = re.search(r"<script>(.*)</script>", text, re.DOTALL) if example().pictures else None
    if found:
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}';" in policy
    else:
        assert "script-src 'none';" in policy
    assert policy.startswith("default-src 'none'; ")


def test_the_script_is_tiny_and_reaches_nowhere():
    script = page.script_of_the_map()
    assert len(script) < 3_000
    for word in ("eval", "Function", "innerHTML", "document.write", "fetch", "XMLHttpRequest", "import", "http", "</"):
        assert word not in script


@pytest.mark.parametrize("example", EXAMPLES)
def test_links_within_the_page_lead_somewhere(example):
    elements = drawn_once(example).elements
    ids = {attributes.get("id") for _, attributes in elements}
    assert {attributes["href"][1:] for tag, attributes in elements if tag == "a"} <= ids


@pytest.mark.parametrize("example", EXAMPLES)
def test_pictures_have_words(example):
    for tag, attributes in drawn_once(example).elements:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"


def test_hostile_text_is_shown_not_obeyed():
    text = page.render(examples.hostile())
    document = Document(text)
    text.encode("utf-8")
    assert text.count("<script") == 1
    assert "{{ 7 * 7 }}" in document.text("top")
    for section in (
        "top",
        "notes",
        "images",
        "time",
        "features",
        "heads",
        "best",
        "map",
        "learning",
        "drift",
        "mistakes",
        "recipe",
    ):
        assert "<script>alert('1')</script>" in document.text(section), section
    assert "␊next␀ \\udcff é 漢字" in document.text("notes")
    assert "\u202e" not in text
    assert "x" * 300 in document.text("images")


SECTIONS = {
    "notes": "No warnings.",
    "images": "No image is in quarantine.",
    "time": "No stage was timed.",
    "features": "No variances yet",
    "heads": "No head has been fitted.",
    "best": "there is no confusion matrix",
    "map": "No 2-D view",
    "mistakes": "No mistakes to show.",
    "recipe": "Nothing was recorded.",
}


@pytest.mark.parametrize(("section", "sentence"), SECTIONS.items())
def test_a_section_without_data_says_so(section, sentence):
    assert sentence in drawn(examples.empty()).text(section)
    assert sentence not in drawn(examples.digits()).text(section)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("notes", "left out of the metrics"),
        ("images", "2 truncated 1 not an image"),
        ("images", "12 rows removed from the source and 236 rows left void"),
        ("time", "extracted 1,300 images and reused 497"),
        ("time", "212 images/s"),
        ("time", "extract 6.1 s 53%"),
        ("time", "forward 8.1 s 70%"),
        ("features", "54 kept 84% 10 dropped threshold 0.05"),
        ("features", "3 are constant"),
        ("best", "497 test images of 10 classes"),
        ("best", "is the expected calibration error"),
        ("map", "2 principal components, 1,300 training rows."),
        ("mistakes", "92% sure"),
        ("recipe", "openvino 2026.3"),
        ("use", "file:///features/digits/3f9a1c"),
    ],
)
def test_a_section_with_data_shows_it(section, words):
    assert words in drawn(examples.digits()).text(section)


def test_what_a_faster_recipe_changed_is_shown_and_how_workers_ran():
    fast = replace(
        examples.digits(), effects=[Effect("bf16 against f32", 64, 0.99712, 0.98034)], engine={"batch": "2", "readers": "16"}
    )
    shown = drawn(fast).text("recipe")
    for said in ("What the faster recipe changed", "bf16 against f32 0.99712 0.98034 64", "Engine batch 2 readers 16"):
        assert said in shown
    assert "What the faster recipe changed" not in drawn(examples.digits()).text("recipe")


def test_the_funnel_shows_every_row():
    counts = RowCounts(ok=1900, quarantined=30, pending=70)
    text = drawn(replace(examples.digits(), counts=counts)).text("images")
    assert "1,900 with features 95% 30 in quarantine 2% 70 pending 4%" in text
    assert "Every one of 2,000 images" in text
    assert "Apart from these" not in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "1,797 of 1,800 images became 64 features each; the variance filter keeps 54; "),
        ({"counts": RowCounts(5, 0, 0), "heads": ()}, "All 5 images became 64 features each; the variance filter keeps 54."),
        ({"counts": RowCounts(5, 1, 4), "features": None, "heads": ()}, "5 of 10 images became features; 4 still to do."),
        ({"counts": RowCounts(0, 0, 0), "features": None, "heads": ()}, "There are no images yet."),
    ],
)
def test_the_verdict_is_one_sentence(change, sentence):
    assert verdict.verdict(replace(examples.digits(), **change)).startswith(sentence)


def test_the_verdict_names_the_best_head():
    forest, softmax = (head.metrics for head in examples.digits().heads)
    assert softmax.macro_f1 > forest.macro_f1
    assert f"the best head is softmax with macro-F1 {softmax.macro_f1:.3f} on" in verdict.verdict(examples.digits())


def test_heads_come_best_first_and_unscored_ones_last():
    forest, softmax = examples.digits().heads
    unscored = replace(forest, kind="unscored", metrics=replace(forest.metrics, macro_f1=float("nan")))
    assert [head.kind for head in heads.best_first([unscored, forest, softmax])] == ["softmax", "forest", "unscored"]
    assert "nan" not in drawn(replace(examples.digits(), heads=[unscored, softmax])).text("heads")


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ({"read": 8.0, "decode": 1.0, "forward": 1.0}, "The bottleneck is reading from the source, with 80% of the work."),
        ({"read": 1.0, "decode": 3.0}, "The bottleneck is decoding and resizing, with 75% of the work."),
        ({"forward": 2.0, "write": 0.0}, "The bottleneck is the forward pass, with 100% of the work."),
        ({"write": 0.002, "forward": 0.001}, "The bottleneck is writing to the store, with 67% of the work."),
        ({"unpack": 1.0}, "The bottleneck is unpack, with 100% of the work."),
        ({"read": 0.0, "forward": 0.0}, ""),
        ({}, ""),
    ],
)
def test_the_bottleneck_is_named(work, sentence):
    assert page.bottleneck(work) == sentence
    assert sentence in drawn(replace(examples.digits(), work_seconds=work)).text("time")


def test_quarantine_is_counted_in_full_and_listed_in_part():
    quarantine = [Quarantined(f"{i}.jpg", "truncated" if i % 5 else "not an image", "") for i in range(1250)]
    data = replace(examples.digits(), counts=RowCounts(5000, 1250, 0), quarantine=quarantine)
    text = drawn(data).text("images")
    assert "1,000 truncated 250 not an image" in text
    assert len(re.findall(r"\d+\.jpg", text)) == page.MOST_QUARANTINED
    assert "1,050 more are not listed here." in text


def test_a_short_quarantine_is_listed_whole():
    assert "not listed here" not in drawn(examples.digits()).text("images")


@pytest.mark.parametrize(("classes", "written"), [(2, True), (25, True), (26, False), (120, False)])
def test_large_confusion_matrices_are_painted(classes, written):
    data = examples.many_classes(classes)
    elements = drawn(data).elements
    cells = [attributes for tag, attributes in elements if tag == "td" and "--s:" in attributes.get("style", "")]
    painted = [a for tag, a in elements if tag == "img" and a.get("class") == "matrix"]
    assert len(cells) == (classes**2 if written else 0)
    assert len(painted) == (0 if written else 1)


def test_the_most_frequent_confusions_are_listed():
    head = examples.many_classes().heads[0]
    found = heads.confusions(head.classes, head.metrics.confusion)
    wrong = head.metrics.confusion - np.diag(head.metrics.confusion.diagonal())
    assert len(found) == heads.MOST_CONFUSIONS
    assert found[0].times == wrong.max()
    assert [pair.times for pair in found] == sorted((pair.times for pair in found), reverse=True)
    truth = head.classes.index(found[0].truth)
    assert wrong[truth, head.classes.index(found[0].predicted)] == found[0].times
    assert found[0].share == pytest.approx(found[0].times / head.metrics.support[truth])


def test_a_head_without_mistakes_has_no_confusions():
    head = examples.digits().heads[0]
    perfect = replace(head, metrics=replace(head.metrics, confusion=np.diag(head.metrics.support)))
    assert heads.confusions(perfect.classes, perfect.metrics.confusion) == []
    assert "every test image was classified correctly" in drawn(replace(examples.digits(), heads=[perfect])).text("best")


def test_classes_are_listed_weakest_first():
    head = examples.digits().heads[1]
    text = drawn(examples.digits()).text("best")
    listed = [float(score) for score in re.findall(r"\d (\d\.\d{3}) \d\.\d{3} \d\.\d{3} \d+", text)]
    assert listed == [round(float(score), 3) for score in sorted(head.metrics.f1)]


def test_mistakes_show_thumbnails_or_a_placeholder():
    seen = examples.digits().mistakes
    missing = Mistake("digits/gone.jpg", "3", "8", 0.9994, None)
    document = drawn(replace(examples.digits(), mistakes=[*seen, missing]))
    pictures = [attributes for tag, attributes in document.elements if attributes.get("src", "").startswith("data:image/jpeg")]
    assert len(pictures) == len(seen) == 24
    assert document.text("mistakes").count("no picture") == 1
    assert "no picture 3 → 8 >99.9% sure digits/gone.jpg" in document.text("mistakes")


def test_heat_stands_below_its_mistake_and_is_explained_only_where_there_is_some():
    first, *others = examples.digits().mistakes
    hot = replace(first, heats=(Heat("8", b"hot"), Heat("3", b"cold")))
    document = drawn(replace(examples.digits(), mistakes=[hot, *others]))
    pictures = [each["alt"] for tag, each in document.elements if tag == "img" and each["alt"].startswith("what speaks for")]
    assert pictures == ["what speaks for 8", "what speaks for 3"]
    explained = "what in it speaks for the class it was taken for, and for its own"
    assert explained in document.text("mistakes")
    assert explained not in drawn_once(examples.digits).text("mistakes")


@pytest.mark.parametrize("address", ["s3://bucket/a b/'q'", examples.HOSTILE])
def test_the_snippet_is_python_that_names_the_feature_set(address):
    code = drawn(replace(examples.digits(), feature_set=address)).texts["use"].partition("from trunkline")[2]
    constants = [node.value for node in ast.walk(ast.parse("from trunkline" + code)) if isinstance(node, ast.Constant)]
    assert constants == [address, "train"]


SHARES = [
    (0, 5, "0%"),
    (5, 5, "100%"),
    (0, 0, "0%"),
    (1, 10**6, "<0.1%"),
    (999_999, 10**6, ">99.9%"),
    (1, 3, "33%"),
    (3, 1800, "0.2%"),
]


@pytest.mark.parametrize(("part", "whole", "text"), SHARES)
def test_percentages_never_round_to_nothing_or_all(part, whole, text):
    assert words.share(part, whole) == text


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_same_data_gives_the_same_page(example):
    assert page.render(example()) == page.render(example())


def test_the_page_is_small_and_made_quickly():
    data = examples.many_classes()
    started = time.process_time()
    text = page.render(data)
    assert time.process_time() - started < 3
    assert len(text.encode()) < 1_500_000
