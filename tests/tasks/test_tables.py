"""What artifacts hold, made from receipts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks import tables
from tests.made_heads import with_head
from tests.stores import copy_of
from trunkline.drift import BatchDrift
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact
from trunkline.heads.targets import Target
from trunkline.maintenance.findings import Finding, Severity
from trunkline.maintenance.retry import Retried, Stays
from trunkline.metrics.classes import Metrics
from trunkline.report.data import Quarantined


@pytest.fixture
def head(finished_store: Path, tmp_path: Path) -> HeadArtifact:
    found = artifact.load(with_head(copy_of(finished_store, tmp_path / "store")))
    assert found is not None
    return found


def with_classes(head: HeadArtifact, names: tuple[str, ...], truth: list[int], predicted: list[int]) -> HeadArtifact:
    metrics = Metrics.of(np.array(truth), np.array(predicted), len(names))
    return replace(head, target=Target("classes", names), metrics=metrics)


def test_a_head_is_a_row_with_its_interval(head: HeadArtifact) -> None:
    head = with_classes(head, ("a", "b"), [0, 0, 1, 1], [0, 0, 1, 0])
    (row,) = tables.heads([replace(head, fitted_at="2026-11-26T01:02:03.004+00:00")])
    low, high = head.metrics.intervals["macro_f1"]
    assert (row["head"], row["measure"], row["score"]) == ("softmax", "macro-F1", round(head.metrics.headline[1], 4))
    assert row["95 % interval"] == f"{low:.4f} to {high:.4f}"
    assert row["fitted"] == "2026-11-26 01:02:03"


def test_few_classes_are_a_matrix(head: HeadArtifact) -> None:
    text = tables.confusion(with_classes(head, ("a|b", "<i>c</i>"), [0, 0, 1, 1], [0, 1, 1, 1]))
    assert text is not None
    assert "4 test images" in text
    assert "| **a&#124;b** | **1** | 1 |" in text
    assert "| **&#60;i&#62;c&#60;/i&#62;** | · | **2** |" in text
    assert "<i>" not in text


def test_many_classes_are_their_worst_confusions(head: HeadArtifact) -> None:
    names = tuple(f"c{number}" for number in range(30))
    text = tables.confusion(with_classes(head, names, [3, 3, 4, 5, 6], [7, 7, 7, 5, 6]))
    assert text is not None
    assert text.splitlines()[-2:] == ["| c3 | c7 | 2 |", "| c4 | c7 | 1 |"]
    right = tables.confusion(with_classes(head, names, [1, 2], [1, 2]))
    assert right is not None
    assert right.endswith("None was taken for another class.")


def test_a_reason_is_a_row_with_its_first_images() -> None:
    first = [Quarantined(f"{number}.jpg", "empty", "") for number in range(5)] + [Quarantined("x.png", "truncated", "")]
    assert tables.quarantine({"truncated": 1, "empty": 5, "missing": 5}, first) == [
        {"reason": "empty", "images": 5, "first images": "0.jpg, 1.jpg, 2.jpg"},
        {"reason": "missing", "images": 5, "first images": ""},
        {"reason": "truncated", "images": 1, "first images": "x.png"},
    ]


def test_drift_shows_the_newest_batch_first() -> None:
    batches = [BatchDrift(number, 10, 0.1 * number, ((7, -2.5),), number == 1) for number in range(2)]
    newest, oldest = tables.drift(batches)
    assert (newest["batch"], newest["look at it"], newest["feature that moved most"]) == (1, "yes", "7 by -2.5")
    assert (oldest["batch"], oldest["look at it"]) == (0, "")


def test_the_worst_finding_comes_first() -> None:
    found = [
        Finding("moments", "/b", Severity.DERIVED, "damaged", "made anew"),
        Finding("manifest", "/a", Severity.IRREPARABLE, "gone", "restore it"),
    ]
    assert [row["what"] for row in tables.findings(found)] == ["manifest", "moments"]


def test_what_became_of_quarantined_images() -> None:
    done = Retried("d", 3, ("a", "b"), {"empty": 2}, (Stays(4, "c.png", "missing"),), 0, {"/f": {"ok": 1, "quarantined": 1}})
    (row,) = tables.retried([done])
    assert (row["tried again"], row["now ok"], row["again in quarantine"], row["stay"]) == (2, 1, 1, 1)
    assert row["which"] == "c.png (missing)"
