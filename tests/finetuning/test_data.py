from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.stores import images_in, spec_for
from trunkline.errors import DataError
from trunkline.finetuning.data import Images, class_weights, images_of
from trunkline.locations import Location
from trunkline.specs import FinetuneSpec
from trunkline.stages.scan import scan
from trunkline.store.feature_store import FeatureStore


def of(folder: Path, **changes: object) -> Images:
    spec = spec_for(folder / "images", folder / "store", **changes)
    scan(spec)
    return images_of(FeatureStore.open(Location.of(spec.store)).dataset("digits"), FinetuneSpec())


def in_splits(folder: Path, digits: Path, *splits: str) -> None:
    for number, split in enumerate(splits):
        images_in(folder / "images" / split, digits, 60, first=60 * number)


def test_validation_images_are_hashed_out_of_each_class(tmp_path, digits_folder):
    images_in(tmp_path / "images", digits_folder, 200)
    found = of(tmp_path)
    training, validation = (np.bincount(found.codes[places], minlength=10) for places in (found.training, found.validation))
    assert list(found.classes) == [str(digit) for digit in range(10)]
    np.testing.assert_array_equal(validation, np.maximum(1, np.round((training + validation) * 0.1)))
    assert not set(found.training) & set(found.validation)
    assert len(found.training) + len(found.validation) + len(found.test) == 200
    assert all(found.listed[place][0].startswith(found.classes[found.codes[place]]) for place in range(200))


def test_a_val_split_is_taken_as_it_is(tmp_path, digits_folder):
    in_splits(tmp_path, digits_folder, "train", "test", "val")
    found = of(tmp_path)
    assert {found.listed[place][0].split("/")[0] for place in found.validation} == {"val"}
    assert (len(found.training), len(found.validation), len(found.test)) == (60, 60, 60)


def test_another_seed_holds_out_others_and_has_another_digest(tmp_path, digits_folder):
    images_in(tmp_path / "images", digits_folder, 100)
    one = of(tmp_path)
    dataset = FeatureStore.open(Location.of(tmp_path / "store")).dataset("digits")
    other = images_of(dataset, FinetuneSpec(seed=1))
    assert set(one.validation) != set(other.validation)
    assert one.digest() != other.digest()
    assert one.digest() == of(tmp_path).digest()


def test_test_images_of_a_class_without_training_images_are_left_out(tmp_path, digits_folder):
    in_splits(tmp_path, digits_folder, "train", "test")
    shutil.copytree(tmp_path / "images/test/3", tmp_path / "images/test/unheard")
    assert len(of(tmp_path).test) == 60


def test_fewer_than_two_images_in_a_class(tmp_path, digits_folder):
    images_in(tmp_path / "images/train", digits_folder, 60)
    images_in(tmp_path / "images/test", digits_folder, 10, first=60)
    for name in ("lonely", "single"):
        (tmp_path / f"images/train/{name}").mkdir()
        shutil.copy2(next((tmp_path / "images/train/0").iterdir()), tmp_path / f"images/train/{name}/1.png")
    with pytest.raises(
        DataError, match=r"Fewer than two training images in 2 of 12 classes \(lonely, single\): one is needed to learn"
    ):
        of(tmp_path)


def test_a_single_class(tmp_path, digits_folder):
    images_in(tmp_path / "all", digits_folder, 60)
    shutil.copytree(tmp_path / "all/1", tmp_path / "images/1")
    with pytest.raises(DataError, match=r"needs at least two classes, and the training images of digits have 1 \(1\)"):
        of(tmp_path)


def test_no_labels(tmp_path, digits_folder):
    images_in(tmp_path / "images", digits_folder, 60)
    with pytest.raises(DataError, match=r"The dataset digits has no labelled images, so there is nothing to fine-tune on"):
        of(tmp_path, labels="none")


def test_balanced_weights_make_classes_count_alike(tmp_path, digits_folder):
    images_in(tmp_path / "images", digits_folder, 100)
    found = of(tmp_path)
    weights, counts = class_weights(found, "balanced"), np.bincount(found.codes[found.training])
    np.testing.assert_allclose(weights * counts, len(found.training) / 10, rtol=1e-6)
    np.testing.assert_array_equal(class_weights(found, "none"), np.ones(10))


def test_what_cannot_be_read_is_left_out(tmp_path, digits_folder):
    images_in(tmp_path / "images", digits_folder, 100)
    found = of(tmp_path)
    gone = [int(found.training[0]), int(found.validation[0])]
    left = found.without(gone)
    assert set(found.training) - set(left.training) == {gone[0]}
    assert set(found.validation) - set(left.validation) == {gone[1]}


def test_specs_validate():
    assert FinetuneSpec(unfreeze=30).unfreeze == "30"
    assert FinetuneSpec(unfreeze=0.5).unfreeze == "0.5"
    for wrong, words in [
        (0, "at least one layer"),
        (-3, "at least one layer"),
        (1.5, "above 0 and at most 1.0"),
        ("", "a number of layers"),
    ]:
        with pytest.raises(ValueError, match=words):
            FinetuneSpec(unfreeze=wrong)
    with pytest.raises(ValueError, match="up to 8 widths from 1 to 65536"):
        FinetuneSpec(widths=(0,))
    with pytest.raises(ValueError, match="finite number"):
        FinetuneSpec(rate=float("inf"))
