"""The card of a notebook: what it says, that nothing in it is markup of others, and that it fits light and dark pages."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from tests.manifests import say
from tests.reading.made import Made
from trunkline import open_features

HOSTILE = "<script>alert('1')</script>\" onload=x & \u202eevil"


class Page(HTMLParser):
    """The text, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += "\n"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_it_says(fruit: Made):
    page = Page(open_features(fruit.place)._repr_html_())
    assert page.open == []
    assert [line for line in page.text.split("\n") if line] == [
        "fruit · efficientnet-lite0",
        *("layers", "pool (6), late (3); float32"),
        *("images", "177 ok, 2 quarantined, 10 pending, 1 removed"),
        *("size", "6.4 kB in memory"),
        *("splits", "test (59), train (118)"),
        *("classes", "apple (97), fig (30), kiwi (0), pear (50)"),
        *("last committed", "2026-09-21 14:13 UTC"),
        f'features = open_features("{fruit.uri}")',
        'X, y = features.numpy("train")',
    ]


def test_the_code_it_shows_runs(fruit: Made):
    for features in (open_features(fruit.place), open_features(fruit.place, batch=0)):
        code = Page(features._repr_html_()).text.split("last committed")[1].split("UTC")[1]
        names = {"open_features": open_features}
        exec(code, names)
        assert len(names["X"]) == len(features.rows("train"))


def test_as_of_a_batch(fruit: Made):
    assert "batch 0; labels and splits of now" in open_features(fruit.place, batch=0)._repr_html_()


def test_an_empty_feature_set(tmp_path: Path):
    made = Made(tmp_path / "store", maps={"pool": (1, 2, 3)})
    made.scan([])
    said = Page(open_features(made.uri)._repr_html_()).text
    for line in (
        "0 ok, 0 quarantined, 0 pending, 0 removed",
        "none",
        "nothing yet",
        "0 B",
        "pool (1 × 2 × 3)",
        "features.numpy()",
    ):
        assert line in said


def test_nothing_of_the_data_becomes_markup(tmp_path: Path):
    made = Made(tmp_path / "store & <b>")
    made.scan(["one.jpg"])
    say(made.dataset.labels, dict([(0, HOSTILE)]))
    made.extract()
    text = open_features(made.place)._repr_html_()
    page = Page(text)
    assert {tag for tag, _ in page.tags} == {"div", "table", "tr", "th", "td", "pre"}
    assert {name for _, attributes in page.tags for name in attributes} == {"style", "scope"}
    assert "<script>alert('1')</script>\" onload=x & \\u202eevil (1)" in page.text
    assert "\u202e" not in text


def test_many_classes_are_cut_short(tmp_path: Path):
    made = Made(tmp_path / "store")
    made.scan([f"class-{number:03d}/1.jpg" for number in range(200)])
    made.extract()
    text = open_features(made.place)._repr_html_()
    assert "200: class-000 (1), class-001 (1)," in text
    assert "class-012" not in text


def test_it_takes_the_page_s_colours_and_nothing_from_elsewhere(fruit: Made):
    text = open_features(fruit.place)._repr_html_()
    assert set(re.findall(r"(?<![-\w])(?:background|color):([^;\"]+)", text)) <= {"none", "inherit", "rgba(128,128,128,.14)"}
    assert not re.search(r"https?:|url\(|@import|<link|<script|src=", text)
