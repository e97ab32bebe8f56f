"""The 2-D view's pictures: evenly over labels, of the images themselves, and none where an image is gone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.stores import extracted
from trunkline import open_features
from trunkline.specs import RunSpec
from trunkline.stages import view
from trunkline.stages.view import evenly, pictures_of, view_of


def test_each_label_has_its_turn():
    assert evenly(["a", "a", "b", "a", "c"], 4) == [0, 2, 4, 1]
    assert evenly([], 4) == []
    labels = ["rare"] * 3 + ["common"] * 1000
    assert sum(labels[place] == "rare" for place in evenly(labels, 100)) == 3


def test_pictures_are_of_their_images(spec: RunSpec):
    extracted(spec)
    features = open_features(spec.store)
    rows = features.rows()[:20]
    found = pictures_of(features, rows, list(features.labels(rows)))
    ids = features.snapshot.ids(rows).to_pylist()
    assert sorted(found) == list(range(20))
    for place, picture in found.items():
        assert picture.id == ids[place]
        small = Image.open(io.BytesIO(picture.jpeg))
        assert small.size == (48, 48)
        original = Image.open(Path(spec.source) / picture.id).convert("RGB").resize((48, 48))
        assert np.abs(np.asarray(small, float) - np.asarray(original, float)).mean() < 12
        assert len(picture.jpeg) < 2500


def test_an_image_that_is_gone_has_no_picture(spec: RunSpec):
    extracted(spec)
    features = open_features(spec.store)
    rows = features.rows()[:5]
    (Path(spec.source) / features.snapshot.ids(rows)[2].as_py()).unlink()
    assert sorted(pictures_of(features, rows, ["x"] * 5)) == [0, 1, 3, 4]


def test_reading_stops_where_images_are_large(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    extracted(spec)
    features = open_features(spec.store)
    monkeypatch.setattr(view, "MOST_READ", 0)
    rows = features.rows()
    assert len(rows) > view.AT_ONCE
    assert len(pictures_of(features, rows, ["x"] * len(rows))) == view.AT_ONCE


def test_without_a_mask_there_is_no_view(spec: RunSpec):
    extracted(spec)
    features = open_features(spec.store)
    nothing = view_of(features, None)
    assert (len(nothing.rows), nothing.points.shape, nothing.method) == (0, (0, 2), "")
    assert pictures_of(features, nothing.rows, nothing.labels) == {}
