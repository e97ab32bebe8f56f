from __future__ import annotations

import numpy as np
import pytest

from trunkline.finetuning.augmentation import augmented, mixed
from trunkline.finetuning.batches import Batches
from trunkline.specs import AugmentationSpec

OFF = AugmentationSpec(flip=False, crop=1.0, colour=0.0, mixup=0.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3)).astype(np.uint8)
ALL = AugmentationSpec(mixup=0.2)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_all_of_it_off_changes_nothing():
    np.testing.assert_array_equal(augmented(IMAGES[0], OFF, random()), IMAGES[0])


def test_flip_mirrors_about_half():
    flips = OFF.model_copy(update={"flip": True})
    mirrored = sum(np.array_equal(augmented(IMAGES[0], flips, random(n)), IMAGES[0][:, ::-1]) for n in range(100))
    assert 30 < mirrored < 70


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crop_and_colour_keep_shape_type_and_range(dtype):
    for seed in range(20):
        found = augmented(IMAGES[0].astype(dtype), AugmentationSpec(crop=0.3, colour=0.9), random(seed))
        assert found.shape == (12, 12, 3)
        assert found.dtype == dtype
        assert found.min() >= 0
        assert found.max() <= 255


def test_a_crop_enlarges_a_part():
    ramp = np.repeat(np.arange(12, dtype=np.float32)[None, :, None], 12, 0).repeat(3, 2)
    found = augmented(ramp, AugmentationSpec(flip=False, crop=0.25, colour=0), random(3))
    assert np.ptp(found) < np.ptp(ramp)


def test_colour_of_grey_stays_grey():
    grey = np.full((8, 8, 3), 100, np.uint8)
    found = augmented(grey, AugmentationSpec(flip=False, crop=1, colour=0.5), random(0))
    assert np.ptp(found) <= 1
    assert found.mean() != pytest.approx(100, abs=1)


def test_mixup_blends_images_and_labels_alike():
    pixels = np.stack([np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 200, np.uint8)])
    blended, truth = mixed(pixels, np.eye(2, dtype=np.float32), 0.5, random(2))
    np.testing.assert_allclose(blended[0].mean() / 200, truth[0, 1], rtol=1e-6)
    np.testing.assert_allclose(truth.sum(axis=1), 1, rtol=1e-6)
    assert truth[0, 0] >= 0.5


def batches(augmentation: AugmentationSpec = ALL, seed: int = 0, places: int = 20) -> Batches:
    codes = np.arange(20) % 3
    return Batches(IMAGES, codes, np.arange(places), 3, 8, seed, augmentation)


def test_the_same_epoch_gives_the_same_batches_and_another_one_others():
    first, again, other = (list(batches().epoch(number)) for number in (1, 1, 2))
    assert len(first) == 2
    for (one, truth), (two, same) in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(truth, same)
    assert not np.array_equal(first[0][0], other[0][0])


def test_without_augmentation_images_and_labels_stay_together():
    for pixels, truth in batches(OFF).epoch(1):
        for image, label in zip(pixels, truth, strict=True):
            (place,) = np.flatnonzero((image == IMAGES).all(axis=(1, 2, 3)))
            assert label.argmax() == place % 3


def test_fewer_images_than_a_batch_are_one_batch():
    (only,) = batches(OFF, places=5).epoch(1)
    assert only[0].shape[0] == 5
