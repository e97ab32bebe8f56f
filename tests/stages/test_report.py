"""Report: one page from what is there; made again only where something changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores import extracted, feature_set_in, other_mask
from trunkline.specs import RunSpec
from trunkline.stages.extract import survey
from trunkline.stages.fit import FitReceipt, fit
from trunkline.stages.report import ReportReceipt, report
from trunkline.stages.select import select, selected_before

NO_HEADS = FitReceipt((), 0, (), 0.0)


def reported(spec: RunSpec, run_id: str) -> ReportReceipt:
    selected = selected_before(spec)
    return report(spec, run_id, survey(spec), selected, fit(spec) if selected else NO_HEADS, {})


def test_the_same_inputs_keep_the_report(finished: RunSpec):
    first = reported(finished, "one")  # the copied store's pointer leads to where it was copied from
    assert first.report == f"{finished.store}/runs/one/report.html"
    again = reported(finished, "two")
    assert (again.cached, again.report) == (True, first.report)
    assert not (Path(finished.store) / "runs/two").exists()


@pytest.mark.parametrize("lost", ["report", "pointer", "damaged pointer"])
def test_a_lost_report_is_made_again(finished: RunSpec, lost: str):
    first = reported(finished, "one")
    pointer = feature_set_in(Path(finished.store)) / "report.json"
    if lost == "report":
        Path(first.report).unlink()
    elif lost == "pointer":
        pointer.unlink()
    else:
        pointer.write_text("{")
    again = reported(finished, "two")
    assert (again.cached, again.report) == (False, f"{finished.store}/runs/two/report.html")


def test_another_mask_is_another_report(finished: RunSpec):
    reported(finished, "one")
    refitted = select(finished, refit=True)
    assert reported(finished, "two").cached, "a mask that keeps the same columns changes nothing"
    other_mask(refitted)
    assert not reported(finished, "three").cached


def test_it_says_what_was_found(finished: RunSpec):
    page = Path(reported(finished, "one").report).read_text()
    for words in ("digits", "efficientnet-lite0", "softmax", "t-SNE of", "160"):
        assert words in page


def test_features_without_mask_and_heads_give_a_report_too(spec: RunSpec):
    (Path(spec.source) / "0" / "broken.png").write_bytes(b"")
    extracted(spec)
    receipt = reported(spec, "early")
    assert not receipt.cached
    assert "broken.png" in Path(receipt.report).read_text()
