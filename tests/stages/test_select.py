"""Select: the mask is fitted on the training rows as they are now, and pinned."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.manifests import appended, say
from tests.stores import extracted, feature_set_in
from trunkline import open_features, selection
from trunkline.errors import CorruptStore, DataError, StoreError
from trunkline.locations import Location
from trunkline.specs import RunSpec, SelectSpec
from trunkline.stages.scan import scan
from trunkline.stages.select import select, selected_before
from trunkline.store.feature_store import FeatureStore


def variances(spec: RunSpec) -> np.ndarray:
    """The oracle: NumPy over the training rows."""
    x, _ = open_features(spec.store).numpy("train")
    return x.astype(np.float64).var(axis=0)


def mask_of(receipt) -> selection.LayerMask:
    return selection.load(Location(receipt.mask)).layers["avg_pool"]


def test_variances_are_numpys(finished: RunSpec):
    receipt = select(finished, refit=True)
    expected = variances(finished)
    mask = mask_of(receipt)
    np.testing.assert_allclose(mask.variances, expected, rtol=1e-10, atol=1e-18)
    assert receipt.threshold == pytest.approx(0.05 * np.median(expected))
    np.testing.assert_array_equal(mask.kept, expected > receipt.threshold)
    assert (receipt.layer, receipt.dim, receipt.kept) == ("avg_pool", 1280, int(mask.kept.sum()))
    assert 0 < receipt.kept < 1280
    assert receipt.training_rows == len(open_features(finished.store).rows("train"))
    assert receipt.reread == 0  # moments were computed while the features were in memory


def test_a_mask_is_pinned_until_somebody_asks(finished: RunSpec):
    first = select(finished)
    assert first.cached
    assert selected_before(finished).mask == first.mask
    again = select(finished, refit=True)
    assert (again.cached, again.mask != first.mask) == (False, True)
    assert select(finished).mask == again.mask
    assert Location(first.mask).exists()


def test_another_rule_is_another_mask(finished: RunSpec):
    rule = finished.model_copy(update={"select": SelectSpec(threshold=0.01)})
    assert selected_before(rule) is None
    receipt = select(rule)
    assert (receipt.cached, receipt.threshold) == (False, 0.01)
    assert select(rule).cached
    assert select(finished).mask != receipt.mask


def test_moments_follow_the_splits(finished: RunSpec):
    """A corrected split changes which rows train: only the shards it touches are read again."""
    features = open_features(finished.store)
    moved = features.rows("train")[:5]
    say(features.dataset.splits, dict.fromkeys(map(int, moved), "test"))
    receipt = select(finished, refit=True)
    assert receipt.reread == 1
    assert receipt.training_rows == len(features.rows("train")) - 5
    np.testing.assert_allclose(mask_of(receipt).variances, variances(finished), rtol=1e-10, atol=1e-18)
    assert select(finished, refit=True).reread == 0


def test_moments_follow_removals(spec: RunSpec, images: Path):
    extracted(spec)
    before = select(spec)
    rows = open_features(spec.store)
    gone = rows.index()["id"].take(rows.rows("train")[:4]).to_pylist()
    for name in gone:
        (images / name).unlink()
    scan(spec)
    receipt = select(spec, refit=True)
    assert receipt.training_rows == before.training_rows - 4
    np.testing.assert_allclose(mask_of(receipt).variances, variances(spec), rtol=1e-10, atol=1e-18)


def test_lost_moments_are_computed_anew(finished: RunSpec):
    expected = mask_of(select(finished, refit=True)).variances
    shutil.rmtree(feature_set_in(Path(finished.store)) / "moments")
    receipt = select(finished, refit=True)
    assert receipt.reread == 3
    np.testing.assert_array_equal(mask_of(receipt).variances, expected)


def test_damaged_moments_are_refused(finished: RunSpec):
    damaged = min((feature_set_in(Path(finished.store)) / "moments").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(CorruptStore, match=rf"{damaged.name} is damaged .*it is computed anew from the features"):
        select(finished, refit=True)


def test_pending_rows_are_refused(finished: RunSpec):
    (feature_set_in(Path(finished.store)) / "commits" / "000000000064.parquet").unlink()
    with pytest.raises(DataError, match=r"64 images of .* are not extracted yet; a mask of the rest would be pinned"):
        select(finished, refit=True)
    assert select(finished).cached  # the pinned one is not in question


def test_nothing_was_extracted(spec: RunSpec):
    scan(spec)
    with pytest.raises(StoreError, match=r"There is no feature set at"):
        select(spec)


def test_no_image_is_left(finished: RunSpec):
    """All images were removed, and no shard is committed."""
    manifest = FeatureStore.open(Location.of(finished.store)).dataset("digits").manifest
    appended(manifest, removed=range(160))
    shutil.rmtree(feature_set_in(Path(finished.store)) / "commits")
    with pytest.raises(DataError, match=r"holds no features yet. Run `trunkline extract` first"):
        select(finished, refit=True)


def test_no_training_row_is_left(finished: RunSpec):
    features = open_features(finished.store)
    say(features.dataset.splits, dict.fromkeys(features.rows().tolist(), "test"))
    with pytest.raises(DataError, match=r"needs at least 2 training images, and there are 0"):
        select(finished, refit=True)
