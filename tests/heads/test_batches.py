"""Mini-batches: each row once an epoch, in another order each time, within bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.heads.made import PIXELS, Memory, data_of
from trunkline.heads import batches
from trunkline.heads.batches import Batches

ROW = 64 * 4


class Counting(Memory):
    """Remembers what was read."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__(x)
        self.reads: list[int] = []

    def read(self, rows, columns=None):
        self.reads.append(len(rows))
        return super().read(rows, columns)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 rows; windows of two of them."""
    monkeypatch.setattr(batches, "BLOCK_BYTES", 64 * ROW)
    monkeypatch.setattr(batches, "LEAST_WINDOW", 128 * ROW)


def places_of(epoch) -> np.ndarray:
    return np.concatenate([places for _, places in epoch])


@pytest.mark.parametrize("memory", [1 << 30, 256 * ROW])
@pytest.mark.usefixtures("small_blocks")
def test_an_epoch_has_each_row_once_and_fills_up_the_last_batch(memory):
    data = data_of()
    each = list(Batches(data, 64, memory).epoch(np.random.default_rng(0)))
    assert {x.shape for x, _ in each} == {(64, 64)}
    places = places_of(each)
    assert len(places) == 640
    assert sorted(places[:600].tolist()) == list(range(600))
    for x, some in each:
        np.testing.assert_array_equal(x, PIXELS[some])


@pytest.mark.usefixtures("small_blocks")
def test_epochs_differ_and_a_seed_repeats_them():
    one = Batches(data_of(), 64, 256 * ROW)
    random = np.random.default_rng(0)
    first, second = places_of(one.epoch(random)), places_of(one.epoch(random))
    assert (first != second).any()
    np.testing.assert_array_equal(places_of(one.epoch(np.random.default_rng(0))), first)


@pytest.mark.usefixtures("small_blocks")
def test_what_fits_is_read_once_and_mixed_all_over():
    data = replace(data_of(), reader=Counting(PIXELS))
    whole = Batches(data, 64, 600 * ROW)
    for _ in range(3):
        first = next(iter(whole.epoch(np.random.default_rng(0))))[1]
        assert len(set((first // 64).tolist())) > 6
    assert sum(data.reader.reads) == 600


@pytest.mark.usefixtures("small_blocks")
def test_what_does_not_fit_is_read_by_windows_of_random_blocks():
    data = replace(data_of(), reader=Counting(PIXELS))
    streamed = Batches(data, 64, 256 * ROW)
    batch = next(iter(streamed.epoch(np.random.default_rng(0))))[1]
    assert sum(data.reader.reads) <= 128  # one window
    assert len(set((batch // 64).tolist())) == 2
    places_of(streamed.epoch(np.random.default_rng(0)))
    places_of(streamed.epoch(np.random.default_rng(1)))
    assert sum(data.reader.reads) > 1_200


def test_fewer_rows_than_a_batch_are_one_batch():
    (batch,) = Batches(data_of(rows=np.arange(5)), 64, 1 << 30).epoch(np.random.default_rng(0))
    assert sorted(batch[1].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("small_blocks")
def test_in_order_is_in_order():
    np.testing.assert_array_equal(places_of(Batches(data_of(), 64, 256 * ROW).in_order()), np.arange(600))
