"""What the task's log says of a mask: kept, moved, and batches that have drifted."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

import pytest

from tasks import select as task
from tests.stores import copy_of, spec_for
from trunkline import selection
from trunkline.locations import Location
from trunkline.specs import RunSpec
from trunkline.stages.select import SelectReceipt


@pytest.fixture
def spec(finished_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    monkeypatch.setattr(task, "get_run_logger", lambda: logging.getLogger("of the run"))  # Prefect's own needs a server
    return spec_for(finished_store.parent / "images", copy_of(finished_store, tmp_path / "store"))


def selected(spec: RunSpec, refit: bool = False) -> SelectReceipt:
    """What the task's function ends with, without a Prefect server."""
    state: Any = inspect.unwrap(task.select_features)(spec, refit)
    assert (state.name == "Cached") == state.data.cached
    receipt: SelectReceipt = state.data
    return receipt


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "of the run"]


def test_a_pinned_mask_and_a_refitted_one(spec: RunSpec, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "of the run")
    receipt = selected(spec)
    assert said(caplog) == [f"{receipt.kept} of 1280 features kept (pinned before)"]
    caplog.clear()
    selected(spec, refit=True)
    assert said(caplog) == [
        f"{receipt.kept} of 1280 features kept (fitted now)",
        f"{receipt.kept} kept before, 0 dropped now, 0 added now; overlap 1.0000",
    ]


def test_notes_are_warnings(spec: RunSpec, caplog: pytest.LogCaptureFixture) -> None:
    mask = selection.load(Location(selected(spec).mask))
    older = {layer: selection.LayerMask(each.kept, each.variances, each.threshold) for layer, each in mask.layers.items()}
    selection.create(Location(mask.location.uri.rsplit("/", 1)[0]), mask.rows, older)
    caplog.clear()
    selected(spec)
    (warned,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "Drift was not measured" in warned.getMessage()
