"""How a worker uses its machine: what is chosen, and a budget of bytes that never blocks for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trunkline.backbones.compiled import Compiled
from trunkline.engine import Budget, chosen, in_common
from trunkline.locations import Location
from trunkline.specs import EngineSpec


def backbone(**what) -> Compiled:
    said = {"size": 224, "pixels": "uint8", "batch": 8, "precision": "bf16"} | what
    return Compiled(Location.of("/nowhere"), "x", shapes={}, multiply_accumulates=1, sha256={}, **said)


@pytest.mark.parametrize(
    ("said", "threads", "local", "expected"),
    [({}, 1, True, (1, 2)), ({}, 8, True, (8, 8)), ({}, 1, False, (1, 16)), ({"threads": 3, "readers": 1}, 8, False, (3, 1))],
)
def test_what_is_left_out_is_chosen_from_the_machine(said, threads, local, expected):
    engine = chosen(EngineSpec(**said), backbone(), runtime="openvino", workers=2, threads=threads, local_source=local)
    assert (engine.threads, engine.readers) == expected
    assert (engine.batch, engine.precision, engine.images_ahead, engine.in_flight_bytes) == (8, "bf16", 64, 512 * 2**20)


@pytest.mark.parametrize(
    ("what", "ahead"),
    [({}, 64), ({"size": 600}, 62), ({"size": 600, "pixels": "float32"}, 17), ({"batch": 100}, 200), ({"size": 4096}, 17)],
)
def test_what_waits_for_the_network_is_bounded_by_bytes(what, ahead):
    engine = chosen(EngineSpec(), backbone(**what), runtime="openvino", workers=1, threads=1, local_source=False)
    assert engine.images_ahead == ahead


def test_never_more_than_the_budget_is_held_and_everybody_gets_it():
    budget, lock, held, most = Budget(100), threading.Lock(), [0], [0]

    def take(count: int) -> None:
        with budget.held(count):
            with lock:
                held[0] += count
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= count

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(take, [10, 60, 90, 30, 50] * 40))
    assert 90 <= most[0] <= 100


def test_more_than_there_is_is_given_to_one_that_is_alone():
    budget = Budget(100)
    with budget.held(10_000):
        pass
    entered = threading.Event()

    def large() -> None:
        with budget.held(10_000):
            entered.set()

    with budget.held(1):
        other = threading.Thread(target=large)
        other.start()
        assert not entered.is_set()  # whether it has asked yet or not, it cannot be in
    other.join(30)
    assert entered.is_set()


def test_what_a_failed_reader_held_is_free_again():
    budget = Budget(100)
    with pytest.raises(ValueError, match="bad image"), budget.held(100):
        raise ValueError("bad image")
    with budget.held(100):
        pass


def test_recipes_that_read_together_wait_with_two_batches_of_each_and_no_more_images_than_the_most_demanding_allows():
    def engine(**what):
        return chosen(EngineSpec(), backbone(**what), runtime="openvino", workers=1, threads=1, local_source=True)

    small, wide, long = engine(), engine(size=600, pixels="float32"), engine(batch=100)
    assert in_common([small]) == small
    assert in_common([small, wide]).images_ahead == 16
    assert in_common([wide, small, long]).images_ahead == 200
    assert in_common([long]).images_ahead == 200
