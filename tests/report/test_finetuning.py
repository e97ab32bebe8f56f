"""The page of a fine-tuning."""

from __future__ import annotations

import numpy as np

from tests.finetuning.test_history import epoch
from trunkline.metrics import measure
from trunkline.report.finetuning import render, verdict

HISTORY = [epoch(1, 0.5, "head"), epoch(2, 0.6, "head"), epoch(1, 0.8), epoch(2, 0.7)]
OUTPUTS = np.eye(3)[[0, 1, 2, 2, 0, 1]]
METRICS = measure("classes", np.array([0, 1, 2, 1, 0, 1]), OUTPUTS, 3)


def test_the_page_shows_curves_epochs_and_classes():
    page = render("birds<1>", HISTORY, HISTORY[2], METRICS, ["crow", "<owl>", "wren"])
    assert page.startswith("<!doctype html>")
    assert page.count('<svg class="plot"') == 2
    assert "birds&lt;1&gt;" in page
    assert "&lt;owl&gt;" in page
    assert "<owl>" not in page
    assert page.count("the last layers") >= 2
    assert "the last layers (best)" in page
    assert page == render("birds<1>", HISTORY, HISTORY[2], METRICS, ["crow", "<owl>", "wren"])


def test_the_weakest_class_comes_first():
    page = render("birds", HISTORY, HISTORY[2], METRICS, ["crow", "owl", "wren"])
    assert page.index("<bdi>wren</bdi>") < page.index("<bdi>owl</bdi>") < page.index("<bdi>crow</bdi>")


def test_without_test_images_it_says_so():
    page = render("birds", HISTORY[:1], HISTORY[0], None, ["crow", "owl"])
    assert "there is no test image" in page
    assert "Test split" not in page


def test_the_verdict_names_phase_and_interval():
    words = verdict(HISTORY[2], METRICS)
    assert words.startswith("Best epoch: 1 of training the last layers, macro-F1 0.800 on the validation images, 0.822 (")
    assert words.endswith("on 6 test images.")
