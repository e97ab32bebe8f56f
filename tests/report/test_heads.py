"""What the page says of heads of each kind, of what was tried, of few labels and drift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.report import examples
from tests.report.examples import drawn, drawn_once
from trunkline.drift import BatchDrift
from trunkline.heads.curves import LearningPoint
from trunkline.heads.protocol import Candidate
from trunkline.metrics import Metrics, measure
from trunkline.report import charts, heads, verdict
from trunkline.report.data import FilterPoint, HeadResult
from trunkline.report.words import score


def test_each_figure_stands_with_its_interval():
    softmax = examples.digits().heads[1].metrics
    low, high = softmax.intervals["macro_f1"]
    text = drawn_once(examples.digits).text("heads")
    assert f"{softmax.macro_f1:.3f} {low:.3f}–{high:.3f}" in text
    assert "macro-F1 0.8 1 accuracy balanced accuracy weighted F1 top-5 accuracy log loss calibration error softmax" in text
    assert "softmax C 0.01 folds 5 fitted in 2.2 s" in text
    assert f"{softmax.top5:.3f} {softmax.log_loss:.3f} {softmax.ece:.3f}" in text


def test_a_head_without_intervals_has_none_and_says_nothing_of_them():
    head = examples.digits().heads[0]
    old = replace(head, metrics=Metrics.of_json({**head.metrics.to_json(), "intervals": {}}))
    text = drawn(replace(examples.digits(), heads=[old])).text("heads")
    assert "95%" not in text
    assert "–0." not in text


def test_the_line_begins_below_all_intervals_and_ends_at_one():
    found = examples.digits().heads
    floor = heads.floor_of(found)
    assert floor == 0.8
    for head in found:
        line = heads.line_of(head, floor)
        assert line.at == pytest.approx((head.metrics.macro_f1 - 0.8) / 0.2)
        assert line.left + line.width == pytest.approx((head.metrics.intervals["macro_f1"][1] - 0.8) / 0.2)
    unknown = replace(found[0], metrics=replace(found[0].metrics, macro_f1=float("nan"), intervals={}))
    assert heads.line_of(unknown, heads.floor_of([unknown])) == heads.Line(None, None, None)


def test_the_chosen_candidate_is_marked_by_itself_or_by_what_the_head_says():
    softmax = examples.everything().heads[1]
    assert [heads.is_chosen(each, softmax) for each in softmax.candidates] == [False, False, True, False, False]
    marked = [replace(each, chosen=each.settings["C"] == "1") for each in softmax.candidates]
    assert [heads.is_chosen(each, replace(softmax, candidates=marked)) for each in marked] == [False] * 4 + [True]
    text = drawn_once(examples.everything).text("heads")
    assert "What was tried for softmax C folds macro-F1 ± over folds 0.0001 5 0.871 0.012" in text
    assert "0.01 5 0.951 0.006 chosen 0.1" in text
    assert text.count("chosen") == 1


def test_candidates_of_other_settings_share_a_table():
    tried = [Candidate({"C": "1"}, 0.5, 0.1), Candidate({"depth": "3"}, 0.6, float("nan"))]
    text = drawn(replace(examples.digits(), heads=[replace(examples.digits().heads[0], candidates=tried)])).text("heads")
    assert "C depth score ± over folds 1 – 0.500 0.100 – 3 0.600 –" in text


def test_a_regression_has_a_verdict_tiles_and_no_confusions():
    data = examples.numbers()
    found = data.heads[0].metrics
    assert f"the best head is ridge with an R² of {found.r2:.3f} on the test split" in verdict.verdict(data)
    assert [(tile.label, tile.value) for tile in verdict.tiles(data)[3:5]] == [
        ("R²", f"{found.r2:.3f}"),
        ("Mean absolute error", f"{found.mae:.4g}"),
    ]
    text = drawn(data).text("best")
    assert "ridge on 142 test images." in text
    assert "The truth spreads by 75.3 (standard deviation); the predictions miss it by 52.76" in text
    assert "onfusion" not in text
    assert "sure" not in drawn(data).text("mistakes")


def test_labels_have_a_table_and_no_confusions():
    data = examples.labels()
    text = drawn(data).text("best")
    assert "logistic on 497 test images with 4 labels." in text
    assert "label F1 precision recall images above five 0.770" in text
    assert "onfusion" not in text
    assert [tile.label for tile in verdict.tiles(data)[3:5]] == ["Macro-F1", "Micro-F1"]


def test_a_regression_of_one_value_has_nothing_to_draw():
    head = HeadResult("mean", measure("regression", np.ones(5), np.ones((5, 1)), 1), ["y"], {}, 0.1)
    assert "Truth and predictions are all one value" in drawn(replace(examples.digits(), heads=[head])).text("best")


def test_too_many_classes_to_paint_are_said_and_listed_in_part():
    truth = np.arange(2000)
    head = HeadResult("knn", Metrics.of(truth, np.roll(truth, 1), 2000), [f"c{i}" for i in truth], {}, 0.1)
    text = drawn(replace(examples.digits(), heads=[head])).text("best")
    assert "2,000 classes are too many to paint." in text
    assert "1,000 more are not listed here." in text


@pytest.mark.parametrize("section", ["learning", "drift"])
def test_what_was_not_done_has_no_section_and_no_link(section):
    there, absent = drawn_once(examples.everything), drawn_once(examples.digits)
    assert ("a", {"href": f"#{section}"}) in there.elements
    assert ("a", {"href": f"#{section}"}) not in absent.elements
    assert section in there.texts
    assert section not in absent.texts


def test_the_filters_worth_is_drawn_and_written():
    text = drawn_once(examples.everything).text("features")
    assert "54 379.1 KiB 0.949 as it is" in text
    assert text.count("as it is") == 2
    assert "What the filter is worth" not in drawn_once(examples.digits).text("features")
    one = replace(examples.digits(), filter_points=[FilterPoint(54, 10, 0.9, current=True)])
    assert "Only one threshold was tried" in drawn(one).text("features")


def test_few_labels_are_drawn_and_written():
    text = drawn_once(examples.everything).text("learning")
    assert "macro-F1 of softmax on the test split, mean of 5 draws" in text
    assert "10 100 0.861 0.831 0.881" in text
    unknown = replace(examples.digits(), learning=[LearningPoint(1, 10, float("nan"), float("nan"), float("nan"))])
    assert "No size of the training set gave a score." in drawn(unknown).text("learning")


def test_drift_names_the_batches_that_were_warned_of():
    text = drawn_once(examples.everything).text("drift")
    assert "1 batch of 4 is unlike the training images that the mask was fitted on" in text
    assert "3 1,240 0.420 17 +2.70 60 -1.90 5 +1.10 drifted" in text
    assert text.count("drifted") == 1
    assert "1 of 4 batches drifted." in verdict.verdict(examples.everything())
    calm = replace(examples.digits(), drift=[BatchDrift(1, 5, 0.1, [], warned=False)])
    assert "1 batch compared; none is unlike" in drawn(calm).text("drift")
    assert "drifted" not in verdict.verdict(calm)


def test_scores_that_are_not_known_are_a_dash():
    assert [score(value) for value in (None, float("nan"), float("inf"), 0.5)] == ["–", "–", "–", "0.500"]


def test_each_candidate_plot_needs_something_to_draw():
    assert charts.filter_curve([], "score") is None
    assert charts.learning_curve([], "score") is None
    assert charts.drift_bars([], None) is None
    assert charts.reliability(Metrics.of(np.array([0]), np.array([0]), 2).reliability) is None
