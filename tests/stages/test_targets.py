"""Labels that are classes, several at once, or numbers: heads, metrics, mistakes and report, without extracting again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.manifests import say
from tests.stores import copy_of, spec_for
from trunkline import open_features
from trunkline.errors import DataError
from trunkline.heads import artifact
from trunkline.locations import Location
from trunkline.metrics import Metrics, MultilabelMetrics, RegressionMetrics
from trunkline.specs import RidgeSpec, RunSpec, SoftmaxSpec, TargetSpec
from trunkline.stages.extract import survey
from trunkline.stages.fit import fit
from trunkline.stages.labelled import labelled
from trunkline.stages.mistakes import mistakes_of
from trunkline.stages.report import report
from trunkline.stages.select import select


@pytest.fixture(scope="module")
def store(finished_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a finished store, whose labels tests change as they like."""
    return copy_of(finished_store, tmp_path_factory.mktemp("targets") / "store")


@pytest.fixture
def digits(store: Path, finished_store: Path) -> RunSpec:
    """Labels as they were: the digits."""
    spec = spec_for(finished_store.parent / "images", store)
    relabel(spec, str)
    return spec


def relabel(spec: RunSpec, label_of) -> None:
    """Each image's label from the digit that it shows, which its folder names."""
    features = open_features(spec.store)
    index = features.index()
    names = {
        row: label_of(int(each.split("/")[0]))
        for row, each in zip(index["row"].to_pylist(), index["id"].to_pylist(), strict=True)
    }
    say(features.dataset.labels, names)


def predictions(head: artifact.HeadArtifact) -> Location:
    return Location(head.location.uri.replace("/heads/", "/predictions/") + ".parquet")


def test_several_labels_at_once(digits: RunSpec):
    relabel(digits, lambda digit: "|".join(["even"] * (digit % 2 == 0) + ["large"] * (digit >= 5)) or "|")
    spec = digits.model_copy(
        update={"target": TargetSpec(kind="multilabel"), "heads": (SoftmaxSpec(C=0.001), RidgeSpec(alpha=100.0))}
    )
    receipt = fit(spec)
    assert [head.classes for head in receipt.heads] == [("even", "large")] * 2
    for head in receipt.heads:
        assert isinstance(head.metrics, MultilabelMetrics)
        assert head.metrics.macro_f1 > 0.6
        made = artifact.load_predictions(predictions(head))
        assert made.truth.shape == made.predicted.shape == (head.test_rows, 2)
        for mistake in mistakes_of(open_features(spec.store), head, predictions(head)):
            assert mistake.truth != mistake.predicted
            assert mistake.truth in ("even", "large", "even, large", "none")
    page = report(spec, "labels", survey(spec), select(spec), receipt, {})
    assert "even" in Location(page.report).read().decode()


def test_numbers(digits: RunSpec):
    relabel(digits, lambda digit: f"{digit * 1.5}")
    spec = digits.model_copy(update={"target": TargetSpec(kind="regression"), "heads": (RidgeSpec(),)})
    receipt = fit(spec)
    (head,) = receipt.heads
    assert isinstance(head.metrics, RegressionMetrics)
    assert head.metrics.r2 > 0
    assert head.classes == ("value",)
    worst = mistakes_of(open_features(spec.store), head, predictions(head))
    errors = [abs(float(each.truth) - float(each.predicted)) for each in worst]
    assert errors == sorted(errors, reverse=True)
    assert worst[0].probability is None
    page = Location(report(spec, "numbers", survey(spec), select(spec), receipt, {}).report).read().decode()
    assert "R²" in page


def test_labels_that_are_no_numbers_are_refused(digits: RunSpec):
    relabel(digits, lambda digit: "seven" if digit == 7 else str(digit))
    spec = digits.model_copy(update={"target": TargetSpec(kind="regression"), "heads": (RidgeSpec(),)})
    with pytest.raises(DataError, match=r"the label 'seven' is no finite number"):
        fit(spec)


def test_one_number_teaches_nothing(digits: RunSpec):
    relabel(digits, lambda _: "3")
    spec = digits.model_copy(update={"target": TargetSpec(kind="regression"), "heads": (RidgeSpec(),)})
    (why,) = fit(spec).notes
    assert why.startswith("A regression needs at least two different values, and ")


def test_images_without_a_label_are_counted(digits: RunSpec):
    features = open_features(digits.store)
    gone = features.rows("train")[:5].tolist()
    say(features.dataset.labels, dict.fromkeys(gone))
    found = labelled(open_features(digits.store), TargetSpec())
    assert found.unlabelled == 5
    assert not set(gone) & set(found.training.tolist())
    receipt = fit(digits)
    assert receipt.notes[0] == "5 training images have no label; no head learned from them."
    say(features.dataset.labels, {gone[0]: "3"})  # and a label that comes later is another head
    assert fit(digits).fitted == 1


def test_a_class_of_one_image_is_warned_of(digits: RunSpec):
    features = open_features(digits.store)
    lonely = int(features.rows("train")[0])
    say(features.dataset.labels, {lonely: "unicorn"})
    (receipt,) = [fit(digits)]
    assert (
        receipt.notes[-1]
        == "1 classes have a single training image (unicorn): heads learn little of them, and no fold tests them."
    )
    assert isinstance(receipt.heads[0].metrics, Metrics)
    assert "unicorn" in receipt.heads[0].classes


def test_class_numbers_follow_the_training_images(digits: RunSpec):
    found = labelled(open_features(digits.store), TargetSpec())
    labels = open_features(digits.store).labels(found.training)
    np.testing.assert_array_equal([found.target.names[code] for code in found.training_truth], labels)
