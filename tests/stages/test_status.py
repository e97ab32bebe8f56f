"""Status and quarantine: what a store holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores import extracted
from trunkline.errors import StoreError
from trunkline.specs import RunSpec
from trunkline.stages.scan import scan
from trunkline.stages.status import quarantine, status


def test_a_new_store_holds_nothing(spec: RunSpec):
    found = status(spec.store)
    assert (found.store, found.datasets) == (spec.store, [])
    assert quarantine(spec.store) == []


def test_a_scanned_dataset_has_no_features_yet(spec: RunSpec):
    scan(spec)
    (dataset,) = status(spec.store).datasets
    assert dataset == {"dataset": "digits", "source": spec.source, "batches": 1, "images": 80, "feature_sets": []}


def test_quarantined_images_stand_once_and_leave_when_they_are_repaired(spec: RunSpec):
    broken = Path(spec.source) / "0" / "broken.png"
    broken.write_bytes(b"")
    extracted(spec)
    extracted(spec.model_copy(update={"preparation": spec.preparation.model_copy(update={"fit": "stretch"})}))
    ((dataset, image),) = quarantine(spec.store)
    assert (dataset, image.id, image.reason) == ("digits", "0/broken.png", "empty")
    assert quarantine(spec.store, "digits") == [(dataset, image)]
    assert quarantine(spec.store, "birds") == []
    assert [each["quarantined"] for each in status(spec.store).datasets[0]["feature_sets"]] == [1, 1]
    broken.write_bytes(min(broken.parent.glob("0*.png")).read_bytes())
    extracted(spec)
    assert quarantine(spec.store) == []  # the broken version is a removed row now; the other recipe has yet to read the new one
    assert [(each["quarantined"], each["pending"]) for each in status(spec.store).datasets[0]["feature_sets"]] in (
        [(0, 0), (0, 1)],
        [(0, 1), (0, 0)],
    )


def test_there_is_no_store(tmp_path: Path):
    for ask in (status, quarantine):
        with pytest.raises(StoreError, match=r"There is no feature store at .*nowhere"):
            ask(str(tmp_path / "nowhere"))
