"""What a backfill shows: figures from the labels of its slices' runs, and a page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.backfill_shown import Shown, Tally, labels_of
from trunkline.stages.backfill import SliceReceipt

RECEIPT = SliceReceipt(
    first=0,
    stop=128,
    images=100,
    extracted={"a": {"ok": 98, "quarantined": 2}},
    reasons={"empty": 2},
    workers=2,
    seconds=50.0,
    images_per_second=4.0,
    stopped=False,
)
SHOWN = Shown("photos", ("lite0", "resnet50"), "slice 3 of 4 runs", 4, 400, Tally(2, 200, 100.0, 0.5), running=50.0)


def test_slices_add_up_by_their_labels():
    labels = labels_of(RECEIPT)
    assert labels == {
        "trunkline.images": 100,
        "trunkline.seconds": 50.0,
        "trunkline.worker-hours": 0.027778,
        "trunkline.stopped": False,
    }
    twice = Tally().with_slice(labels).with_slice({**labels, "prefect.flow.id": "x"})
    assert (twice.slices, twice.images, twice.seconds) == (2, 200, 100.0)
    assert twice.worker_hours == pytest.approx(0.055556)
    assert twice.images_per_second == 2.0
    assert twice.with_slice({"prefect.flow.id": "x"}) == twice  # it failed, or was cancelled
    assert Tally().images_per_second is None


def test_what_is_left_is_told_by_the_pace_of_its_slices_and_before_by_the_estimate():
    assert (SHOWN.percent, SHOWN.remaining) == (62.5, 75.0)
    first = replace(SHOWN, tally=Tally(), running=0.0, estimate=90.0)
    assert (first.percent, first.remaining) == (0.0, 90.0)
    assert replace(first, estimate=None).remaining is None
    assert replace(SHOWN, images=0).percent == 100.0


def test_the_page_says_what_is_done_what_it_costs_and_whom_it_waits_for():
    page = replace(SHOWN, price=3.0, left_out=("slice 1 of 4 (rows 0 to 9)",)).markdown()
    for line in (
        "# Backfill of photos",
        "**slice 3 of 4 runs**",
        "| slices | 2 of 4 done |",
        "| images | 250 of 400 (62 %) |",
        "| images/s | 2.0 |",
        "| remaining | about 1 min 15 s |",
        "| worker hours | 0.500 |",
        "| cost so far | 1.50 |",
        "| cancelled, left out | slice 1 of 4 (rows 0 to 9) |",
        "- resnet50",
    ):
        assert line in page.splitlines()
    plain = replace(SHOWN, tally=Tally(), running=0.0).markdown()
    assert "cost" not in plain
    assert "cancelled" not in plain
    assert "| remaining | not known yet |" in plain


def test_a_slice_says_in_a_sentence_what_it_did():
    assert RECEIPT.in_words() == "100 images of rows 0 to 127 in 50 s, 4 a second; 2 quarantined."
    assert replace(RECEIPT, stopped=True, reasons={}).in_words().endswith("a second; its hours were over before its rows.")
    assert replace(RECEIPT, images=0).in_words() == "Nothing to do: all is committed of rows 0 to 127."
