"""Pinned heads: the last one that was fitted as asked is used, whatever images have come since."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores import copy_of, extracted, images_in, other_mask, spec_for
from trunkline.specs import CentroidSpec, RunSpec, SoftmaxSpec
from trunkline.stages.fit import fit
from trunkline.stages.pinned import batches_since, pinned_heads
from trunkline.stages.select import select

ONE = SoftmaxSpec(C=(0.001,))


@pytest.fixture
def spec(finished_store: Path, digits_folder: Path, tmp_path: Path) -> RunSpec:
    """160 images extracted, selected and fitted, and then 20 more extracted."""
    images_in(tmp_path / "images", digits_folder, 160)
    store = copy_of(finished_store, tmp_path / "store")
    source = store / "datasets/digits/source.json"
    source.write_text(source.read_text().replace(str(finished_store.parent / "images"), str(tmp_path / "images")))
    images_in(tmp_path / "images", digits_folder, 20, first=160)
    spec = spec_for(tmp_path / "images", store)
    extracted(spec)
    return spec


def test_new_images_do_not_replace_a_head(spec: RunSpec) -> None:
    selected = select(spec)
    before = pinned_heads(spec, selected)
    assert [head.kind for head in before.heads] == ["softmax"]
    assert before.missing == ()
    newer = fit(spec)  # on more images
    assert newer.fitted == 1
    now = pinned_heads(spec, selected)
    assert now.heads[0].location == newer.heads[0].location != before.heads[0].location


def test_what_was_never_fitted_so_is_missing(spec: RunSpec) -> None:
    selected = select(spec)
    asked = spec.model_copy(update={"heads": (CentroidSpec(), ONE, SoftmaxSpec(C=(0.5,)))})
    found = pinned_heads(asked, selected)
    assert [head.kind for head in found.heads] == ["softmax"]
    assert [head.kind for head in found.missing] == ["centroid", "softmax"]
    assert pinned_heads(spec.model_copy(update={"seed": 3}), selected).heads == ()
    other_mask(selected)
    assert pinned_heads(spec, select(spec)).heads == ()


def test_batches_since_the_mask_come_newest_first(spec: RunSpec, digits_folder: Path) -> None:
    selected = select(spec)
    images_in(Path(spec.source), digits_folder, 20, first=180)
    receipt = extracted(spec)
    assert batches_since(receipt.feature_set, selected.mask) == [2, 1]
    refitted = select(spec, refit=True)
    assert batches_since(receipt.feature_set, refitted.mask) == []
