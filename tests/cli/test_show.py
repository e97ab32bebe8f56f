"""What reaches a terminal: names as they are, without what would steer it."""

from __future__ import annotations

import io

from rich.console import Console

from trunkline.cli import show
from trunkline.progress import Step
from trunkline.wording import in_bytes


def drawn(what: object) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_brackets_in_paths_are_no_markup() -> None:
    text = drawn(show.table("data[old]/[/b]", ("a wide enough column",), [("x[red]y",)]))
    assert "data[old]/[/b]" in text
    assert "x[red]y" in text
    assert "f[/i]" in drawn(show.facts("f[/i]", [("a", "[b]c")]))


def test_control_characters_are_shown_not_sent() -> None:
    text = drawn(show.table("", ("id",), [("a\x1b[31mred\nline\u202etxt",)]))
    assert "\x1b[31m" not in text
    assert "\u202e" not in text
    assert r"a\x1b[31mred\nline\u202etxt" in text


def test_lines_say_speed_and_what_is_left() -> None:
    console = Console(file=io.StringIO(), width=200)
    lines = show._Lines(console)
    lines(Step("extract", 0, None, "starting workers"))
    lines(Step("extract", 0, 100))
    lines(Step("extract", 100, 100, "1 quarantined"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "extract: 0 (starting workers)" in text
    assert "extract: 100 of 100 images" in text
    assert "(1 quarantined)" in text


def test_sizes_and_durations_are_for_people() -> None:
    assert [in_bytes(n) for n in (12, 2048, 5 * 2**20)] == ["12 B", "2.0 KiB", "5.0 MiB"]
    assert [show._duration(s) for s in (5, 65, 3700)] == ["5s", "1m 05s", "1h 01m"]
