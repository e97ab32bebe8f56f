"""A bearable rate, by a clock that the tests turn."""

from __future__ import annotations

import logging

import pytest

from trunkline.logs.rate import Limiter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def record(template: str, *values: object, line: int = 1, level: int = logging.INFO, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("trunkline.here", level, "/here.py", line, template, values, None)
    made.__dict__.update(more)
    return made


def said(records: list[logging.LogRecord]) -> list[str]:
    return [each.getMessage() for each in records]


def test_of_thousands_of_records_a_few_pass_and_the_sum_of_the_others_follows(clock: Clock) -> None:
    limiter = Limiter(most=3, seconds=60, clock=clock)
    passed = [each for number in range(5000) for each in limiter.admit(record("Image %d is bad", number))]
    assert said(passed) == ["Image 0 is bad", "Image 1 is bad", "Image 2 is bad"]
    assert limiter.holds_back
    clock.now = 60.0
    assert said(limiter.admit(record("Image %d is bad", 5000))) == ["4,997 more like: Image %d is bad", "Image 5000 is bad"]
    assert not limiter.holds_back


def test_a_minute_begins_with_its_first_record(clock: Clock) -> None:
    limiter = Limiter(most=1, seconds=60, clock=clock)
    clock.now = 1000.0
    assert said(limiter.admit(record("a"))) == ["a"]
    clock.now = 1059.9
    assert limiter.admit(record("a")) == []
    assert limiter.due() == []
    clock.now = 1060.0
    assert said(limiter.due()) == ["1 more like: a"]
    assert said(limiter.admit(record("a"))) == ["a"]


def test_each_place_in_the_code_has_its_own_rate_whatever_its_messages_say(clock: Clock) -> None:
    limiter = Limiter(most=1, seconds=60, clock=clock)
    assert said(limiter.admit(record("worker 1 is slow", line=1))) == ["worker 1 is slow"]
    assert limiter.admit(record("worker 2 is slow", line=1)) == []
    assert said(limiter.admit(record("worker 1 is slow", line=2))) == ["worker 1 is slow"]
    assert said(limiter.admit(record("worker 1 is slow", line=1, run="other"))) == ["worker 1 is slow"]


def test_debug_is_never_held_back(clock: Clock) -> None:
    limiter = Limiter(most=1, seconds=60, clock=clock)
    assert sum(len(limiter.admit(record("shard %d", number, level=logging.DEBUG))) for number in range(50)) == 50


def test_flush_tells_at_once_and_the_minute_goes_on(clock: Clock) -> None:
    limiter = Limiter(most=1, seconds=60, clock=clock)
    for _ in range(4):
        limiter.admit(record("a", level=logging.WARNING, shard="000000000064", run="r1"))
    (summary,) = limiter.flush()
    assert (summary.levelname, summary.getMessage(), summary.held_back) == ("WARNING", "3 more like: a", 3)
    assert (summary.run, hasattr(summary, "shard")) == ("r1", False)
    assert limiter.flush() == []
    assert limiter.admit(record("a", run="r1")) == []


def test_what_workers_held_back_is_added_up(clock: Clock) -> None:
    driver = Limiter(most=2, seconds=60, clock=clock)
    passed = []
    for _ in range(10):
        worker = Limiter(most=5, seconds=60, clock=clock)
        for number in range(100):
            for each in worker.admit(record("Image %d is bad", number)):
                passed += driver.admit(each)
        for each in worker.flush():
            passed += driver.admit(each)
    assert said(passed) == ["Image 0 is bad", "Image 1 is bad"]
    assert said(driver.flush()) == ["998 more like: Image %d is bad"]


def test_memory_does_not_grow_with_time(clock: Clock) -> None:
    limiter = Limiter(most=1, seconds=60, clock=clock)
    for number in range(1000):
        clock.now += 61
        limiter.admit(record("a", run=f"run-{number}"))
    assert len(limiter._windows) == 1
