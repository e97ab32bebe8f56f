"""Fit: a head is fitted once for what goes into it, and never measured on what it has seen."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.manifests import say
from tests.stores import extracted, feature_set_in, objects, other_mask
from trunkline import open_features
from trunkline.errors import DataError
from trunkline.heads.artifact import load_predictions
from trunkline.locations import Location
from trunkline.progress import Step
from trunkline.specs import ForestSpec, RunSpec, SoftmaxSpec
from trunkline.stages.fit import fit
from trunkline.stages.scan import scan
from trunkline.stages.select import select
from trunkline.store.lease import hold

FOREST = ForestSpec(trees=5)


def with_heads(spec: RunSpec, *heads: SoftmaxSpec | ForestSpec, **changes: object) -> RunSpec:
    return spec.model_copy(update={"heads": heads, **changes})


def test_heads_come_in_the_specs_order_and_are_measured_on_the_test_split(finished: RunSpec):
    told = []
    receipt = fit(with_heads(finished, FOREST, *finished.heads), told.append)
    assert [head.kind for head in receipt.heads] == ["forest", "softmax"]
    assert receipt.fitted == 1  # softmax was there
    assert [step.note for step in told] == ["forest", "softmax", ""]
    features = open_features(finished.store)
    test = features.rows("test")
    for head in receipt.heads:
        assert head.classes == tuple("0123456789") or head.classes == list("0123456789")
        assert (head.training_rows, head.test_rows) == (len(features.rows("train")), len(test))
        place = Path(finished.store) / "predictions" / Path(head.location.uri).relative_to(Path(finished.store) / "heads")
        made = load_predictions(Location(f"{place}.parquet"))
        np.testing.assert_array_equal(made.rows, test)
        truth = [head.classes[code] for code in made.truth]
        assert truth == features.labels(test).tolist()
        assert head.metrics.accuracy == np.mean(made.truth == made.predicted)
    assert receipt.heads[1].metrics.accuracy > 0.5


def test_a_head_is_fitted_once(finished: RunSpec):
    before = objects(Path(finished.store) / "heads")
    receipt = fit(finished)
    assert receipt.fitted == 0
    assert objects(Path(finished.store) / "heads") == before


@pytest.mark.parametrize("changes", [{"heads": (SoftmaxSpec(C=(0.002,)),)}, {"seed": 5}])
def test_another_spec_or_seed_is_another_head(finished: RunSpec, changes: dict):
    assert fit(finished.model_copy(update=changes)).fitted == 1
    assert fit(finished).fitted == 0  # the first one is still there


def test_another_mask_is_another_head(finished: RunSpec):
    refitted = select(finished, refit=True)
    assert fit(finished).fitted == 0, "a mask that keeps the same columns changes nothing"
    other_mask(refitted)
    assert fit(finished).fitted == 1


def test_a_corrected_label_is_another_head(finished: RunSpec):
    features = open_features(finished.store)
    row = int(features.rows("train")[0])
    other = "1" if features.labels(np.array([row]))[0] == "0" else "0"
    say(features.dataset.labels, {row: other})
    assert fit(finished).fitted == 1


def test_a_corrected_split_is_another_head(finished: RunSpec):
    features = open_features(finished.store)
    say(features.dataset.splits, {int(features.rows("train")[0]): "test"})
    receipt = fit(finished)
    assert receipt.fitted == 1
    assert receipt.heads[0].test_rows == len(features.rows("test")) + 1


def test_an_unfinished_head_is_fitted_again(finished: RunSpec):
    (head,) = fit(finished).heads
    (head.location / "head.json").remove()
    receipt = fit(finished, only_stored=True)
    assert (receipt.heads, receipt.fitted) == ([], 0)
    assert fit(finished).fitted == 1


def test_without_labels_nothing_is_fitted(finished: RunSpec, spec: RunSpec):
    receipt = fit(finished.model_copy(update={"labels": "none"}))
    assert (receipt.heads, receipt.notes) == ((), ("Labels were not asked for, so no head was fitted.",))
    flat = Path(spec.source) / "flat"
    flat.mkdir()
    for file in Path(spec.source).glob("*/*.png"):
        file.rename(flat / file.name)
    flat_spec = spec.model_copy(update={"source": str(flat)})
    extracted(flat_spec)
    assert fit(flat_spec).notes == ("The source has no class folders, so no head was fitted.",)


def test_a_mask_is_needed(spec: RunSpec):
    extracted(spec)
    with pytest.raises(DataError, match=r"has no mask under this rule yet. Run `trunkline select` first"):
        fit(spec)


def test_one_class_is_too_few(spec: RunSpec, images: Path):
    for folder in sorted(images.iterdir())[1:]:
        shutil.rmtree(folder)
    extracted(spec)
    select(spec)
    assert fit(spec).notes == ("A head needs at least two classes, and the training split has 1 (0), so no head was fitted.",)


def split_folders(images: Path, test: list[Path]) -> None:
    """Into train/ and test/."""
    for file in sorted(images.glob("?/*.png")):
        place = images / ("test" if file in test else "train") / file.relative_to(images)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    for folder in images.glob("?"):
        folder.rmdir()


def test_an_empty_test_split(finished: RunSpec):
    features = open_features(finished.store)
    say(features.dataset.splits, dict.fromkeys(features.rows("test").tolist(), "train"))
    (why,) = fit(finished).notes
    assert why.startswith("No test image is left to measure heads on (0 test images equal training images")


def test_test_images_that_train_are_left_out(spec: RunSpec, images: Path):
    files = sorted(images.glob("*/*.png"))
    split_folders(images, files[::5])
    for number, file in enumerate(sorted((images / "train" / "3").iterdir())[:3]):
        (images / "test" / "3").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, images / "test" / "3" / f"copy-{number}.png")
    extracted(spec)
    select(spec)
    receipt = fit(spec)
    assert receipt.notes == ["3 test images have the same bytes as a training image; they are left out of the metrics."]
    (head,) = receipt.heads
    assert (head.left_out, head.test_rows, head.training_rows) == (3, 16, 64)


def test_a_test_split_of_copies_alone_measures_nothing(spec: RunSpec, images: Path):
    split_folders(images, [])
    shutil.copytree(images / "train" / "3", images / "test" / "3")
    extracted(spec)
    select(spec)
    copies = len(list((images / "test").glob("*/*.png")))
    (why,) = fit(spec).notes
    assert f"({copies} test images equal training images byte for byte, 0 are of unknown classes)" in why


def test_a_class_that_only_the_test_split_has_is_left_out(spec: RunSpec, images: Path):
    files = sorted(images.glob("*/*.png"))
    test = [file for number, file in enumerate(files) if file.parent.name in ("8", "9") or number % 5 == 0]
    split_folders(images, test)
    extracted(spec)
    select(spec)
    receipt = fit(spec)
    strangers = sum(file.parent.name in ("8", "9") for file in test)
    assert receipt.notes[-1].startswith(f"{strangers} test images are of classes without a training image (8, 9)")
    (head,) = receipt.heads
    assert head.classes == tuple("01234567")
    assert head.test_rows == len(test) - strangers


def test_nothing_was_scanned_again(finished: RunSpec):
    """Fitting reads the store alone; the source may be gone."""
    gone = finished.model_copy(update={"source": "/nowhere"})
    assert fit(gone).fitted == 0
    assert scan(finished).unchanged == 160


def test_two_runs_do_not_fit_the_same_head(finished: RunSpec):
    asked = with_heads(finished, SoftmaxSpec(C=(0.003,)))
    waits = threading.Event()

    def told(step: Step) -> None:
        if step.note.startswith("waiting for lease"):
            waits.set()

    with ThreadPoolExecutor(1) as pool:
        with hold(Location.of(feature_set_in(Path(finished.store)) / "leases" / "heads")):
            second = pool.submit(fit, asked, told)
            assert waits.wait(60)
            assert fit(finished).fitted == 0  # what is there needs no lease
        assert second.result(60).fitted == 1
