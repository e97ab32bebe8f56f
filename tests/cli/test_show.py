"""What reaches a terminal: names as they are, without what would steer it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

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


def test_what_an_earlier_run_did_is_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([100.0, 120.0, 130.0])
    monkeypatch.setattr(show.time, "monotonic", lambda: next(seconds))
    console = Console(file=io.StringIO(), width=200)
    lines = show._Lines(console)
    lines(Step("finetune", 0, None, "looking at backbone and images"))
    lines(Step("finetune", 13_000, 44_800))
    lines(Step("finetune", 14_000, 44_800))
    assert "14,000 of 44,800 images, 100/s, 5m 08s left" in console.file.getvalue()  # type: ignore[attr-defined]


def test_nor_on_a_terminal() -> None:
    clock = [0.0]
    bars = Bars(console=Console(file=io.StringIO(), width=200), get_time=lambda: clock[0])
    shown = show._Bars(bars)
    shown(Step("finetune", 0, None, "looking at backbone and images"))
    for clock[0], done in ((20.0, 13_000), (25.0, 13_500), (30.0, 14_000)):
        shown(Step("finetune", done, 44_800))
    (task,) = bars.tasks
    assert (task.completed, task.total, task.speed) == (14_000, 44_800, 100.0)


def test_sizes_and_durations_are_for_people() -> None:
    assert [in_bytes(n) for n in (12, 2048, 5 * 2**20)] == ["12 B", "2.0 KiB", "5.0 MiB"]
    assert [show._duration(s) for s in (5, 65, 3700)] == ["5s", "1m 05s", "1h 01m"]
