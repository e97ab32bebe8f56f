from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.finetuning.small import SIZE
from tests.finetuning.test_data import of
from tests.stores import images_in
from trunkline import images
from trunkline.errors import StorageError, TooManyBadImages
from trunkline.finetuning import pixels
from trunkline.finetuning.pixels import Decoded, array, decoded
from trunkline.progress import silent
from trunkline.specs import Recipe


@pytest.fixture
def recipe(lite0_recipe: Recipe) -> Recipe:
    return lite0_recipe.model_copy(update={"size": SIZE})


def all_of(folder: Path, recipe: Recipe, most: float = 0.05) -> Decoded:
    return decoded(of(folder), recipe, folder, most, silent)


def test_every_image_is_decoded_as_the_recipe_says(tmp_path, digits_folder, recipe):
    images_in(tmp_path / "images", digits_folder, 60)
    chosen, found = of(tmp_path), all_of(tmp_path, recipe)
    for place, (id_, _, _) in enumerate(chosen.listed):
        np.testing.assert_array_equal(found.pixels[place], images.load((tmp_path / "images" / id_).read_bytes(), recipe))
    assert not found.bad
    assert len(set(found.sha256)) == 60


def test_those_that_cannot_be_read_are_named(tmp_path, digits_folder, recipe):
    images_in(tmp_path / "images", digits_folder, 60)
    (tmp_path / "images/3/broken.png").write_bytes(b"no image")
    found = all_of(tmp_path, recipe)
    assert list(found.bad.values()) == ["not-an-image"]


def test_too_many_of_them_stop_before_training(tmp_path, digits_folder, recipe):
    images_in(tmp_path / "images", digits_folder, 100)
    for number in range(10):
        (tmp_path / f"images/3/broken{number}.png").write_bytes(b"")
    with pytest.raises(TooManyBadImages, match=r"10 of 110 images cannot be read \(10 empty\), more than the allowed 5%"):
        all_of(tmp_path, recipe)


def test_a_class_that_loses_its_last_image_stops_it_too(tmp_path, digits_folder, recipe):
    images_in(tmp_path / "images/train", digits_folder, 60)
    images_in(tmp_path / "images/val", digits_folder, 20, first=60)
    shutil.copytree(tmp_path / "images/train/1", tmp_path / "images/train/bad")
    for path in (tmp_path / "images/train/bad").iterdir():
        path.write_bytes(b"")
    with pytest.raises(TooManyBadImages, match=r"and no training image of bad is left, so nothing was trained"):
        all_of(tmp_path, recipe, most=1.0)


def test_large_arrays_lie_in_a_file_and_no_room_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "IN_MEMORY", 1000)
    assert not isinstance(array((10, 10), np.uint8, tmp_path, "some"), np.memmap)
    assert isinstance(array((100, 100), np.uint8, tmp_path, "some"), np.memmap)
    with pytest.raises(StorageError, match=r"The pixels of 1,000,000 images take .* GiB free. Set TMPDIR to a larger disk"):
        array((10**6, 2048, 2048, 3), np.uint8, tmp_path, "pixels")
