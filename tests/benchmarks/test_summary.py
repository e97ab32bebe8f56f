"""Ratios are taken inside a repeat, and what did not run is left out."""

from __future__ import annotations

import pytest

from tests.benchmarks.job import Timing
from tests.benchmarks.measure import Measured
from tests.benchmarks.summary import Added, Spread, summarise


def run(path: str, repeat: int, steady: float, whole: float | None = None) -> Measured:
    """100 images at a rate; the whole takes as long unless said otherwise."""
    timing = Timing(100, 100 / (whole or steady), 100 / steady)
    return Measured(path, "resnet50", repeat, timing, "", 10.0 * repeat, 5.0)


def failed(path: str, repeat: int) -> Measured:
    return Measured(path, "resnet50", repeat, None, "exit status 1", 0.0, 0.0)


def test_a_ratio_is_the_median_of_the_repeats_ratios():
    runs = [run("keras", 1, 10), run("ours-f32", 1, 30, 20), run("keras", 2, 5), run("ours-f32", 2, 20), failed("keras", 3)]
    summary = summarise("resnet50", [*runs, run("ours-f32", 3, 100)])
    (ratio,) = summary.ratios
    assert (ratio.name, ratio.images, ratio.target, ratio.least_images) == ("ours f32 ÷ Keras", 100, 2.4, 1000)
    assert ratio.steady == Spread(3.5, 3.0, 4.0)
    assert ratio.whole == Spread(3.0, 2.0, 4.0)
    assert summary.paths["ours-f32"].steady == Spread(30, 20, 100)
    assert summary.paths["ours-f32"].peak_mib == 30.0


def test_the_limit_adds_the_times_of_both_parts():
    runs = [run("forward-f32", 1, 60), run("decode", 1, 30), run("ours-f32", 1, 18), run("forward-f32", 2, 60)]
    summary = summarise("resnet50", runs)
    assert summary.limits["f32"].median == pytest.approx(20)
    (ratio,) = summary.ratios
    assert ratio.name == "ours f32 ÷ limit"
    assert ratio.steady.median == pytest.approx(0.9)
    assert ratio.whole is None


def test_what_orchestration_adds_is_in_seconds_for_ten_thousand_images_and_for_each_run():
    notes = {"flow_seconds": 30.0, "stages": {"scan": 1.0, "extract": 14.0, "select": 0.5, "fit": 0.5}}
    flows = [Measured("prefect-dask", "resnet50", repeat, Timing(200, 15.0, 11.0, notes), "", 1.0, 1.0) for repeat in (1, 2)]
    loops = [Measured("plain-loop", "resnet50", repeat, Timing(200, 11.0, 10.0), "", 1.0, 1.0) for repeat in (2, 3)]
    added = summarise("resnet50", [*flows, *loops]).added
    assert added == Added(200, Spread(*[pytest.approx(50.0)] * 3), Spread(3.0, 3.0, 3.0), Spread(14.0, 14.0, 14.0))
    assert summarise("resnet50", flows).added is None


def test_a_network_of_which_nothing_ran_has_an_empty_summary():
    summary = summarise("mobilenet-v2", [run("keras", 1, 10)])
    assert not summary.paths
    assert not summary.ratios
