"""Work ahead: in order, bounded, and errors in their turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from trunkline.sources.ahead import ahead


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_results_come_in_order_and_few_are_held(threads: ThreadPoolExecutor):
    taken, most = 0, 0

    def items() -> Iterator[int]:
        nonlocal most
        for number in range(50):
            most = max(most, number + 1 - taken)
            yield number

    for expected, number in enumerate(ahead(lambda number: number * 2, items(), threads, 5)):
        assert number == expected * 2
        taken += 1
    assert (taken, most) == (50, 5)


def test_several_run_at_once(threads: ThreadPoolExecutor):
    together = threading.Barrier(4, timeout=30)
    assert len(list(ahead(lambda _: together.wait(), range(4), threads, 4))) == 4


def test_an_error_comes_in_its_turn(threads: ThreadPoolExecutor):
    results = ahead(lambda number: 1 // (3 - number), range(9), threads, 4)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
