"""A call of a map: told to end, it ends at its next look; and nobody else does."""

from __future__ import annotations

import threading

import pytest

from trunkline import calls
from trunkline.calls import call, check_ended, end, working
from trunkline.errors import RunEnded


def doubles(job: int, item: int) -> int:
    check_ended()
    return job * item


def test_it_is_the_function_itself():
    assert call("one", None, doubles, 2, 21) == 42
    assert working("one") == 0
    check_ended()  # outside of any call there is nothing that could have ended


def test_a_call_that_comes_after_the_end_does_nothing():
    end("late")
    with pytest.raises(RunEnded, match=r"The run that asked for this work has ended; nothing more is computed or written"):
        call("late", None, lambda *_: pytest.fail("it was called"), 0, 0)
    assert call("another", None, doubles, 1, 1) == 1


def test_a_call_that_is_under_way_ends_at_its_next_look():
    begun, told, seen = threading.Event(), threading.Event(), list[object]()

    def two_batches(_: object, item: int) -> int:
        begun.set()
        assert told.wait(30)
        check_ended()
        seen.append("another batch")
        return item

    def run() -> None:
        try:
            call("ending", None, two_batches, None, 1)
        except RunEnded as error:
            seen.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(30)
    assert working("ending") == 1
    end("ending")
    told.set()
    thread.join(30)
    assert [type(each) for each in seen] == [RunEnded]
    assert working("ending") == 0
    assert "ending" not in calls._working


def test_an_admission_comes_before_the_work():
    def refuses() -> None:
        raise ValueError("not here")

    with pytest.raises(ValueError, match="not here"):
        call("refused", refuses, lambda *_: pytest.fail("it was called"), 0, 0)
    assert working("refused") == 0


def test_a_call_inside_a_call_looks_at_its_own_map():
    def outer(_: object, item: int) -> int:
        end("inner")
        with pytest.raises(RunEnded):
            call("inner", None, doubles, 1, 1)
        check_ended()
        return item

    assert call("outer", None, outer, None, 7) == 7
