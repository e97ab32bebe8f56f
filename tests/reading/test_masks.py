"""Masks by name: the pinned one of the default rule, or one by its URI."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.reading.made import Made
from trunkline import open_features, selection
from trunkline.errors import DataError
from trunkline.locations import Location
from trunkline.selection import LayerMask
from trunkline.specs import SelectSpec
from trunkline.store.feature_store import FeatureStore

KEPT = np.array([True, False, False, True, True, False])


def folder(made: Made, rule: str) -> Location:
    return FeatureStore.open(Location.of(made.place)).beside("masks", made.feature_set) / rule


def pin(made: Made, kept: np.ndarray = KEPT, rule: str = SelectSpec().digest(), layer: str = "pool", recipe: str = "") -> str:
    layers = {layer: LayerMask(kept, np.ones(len(kept)), 0.5)}
    return selection.create(folder(made, rule), 100, layers, recipe).location.uri


def test_the_pinned_mask_and_one_by_its_uri(writable: Made):
    first = pin(writable)
    features = open_features(writable.place)
    x = features.numpy()[0]
    np.testing.assert_array_equal(features.numpy(mask=True)[0], x[:, KEPT])
    assert features.xarray(mask=True)["feature"].values.tolist() == [0, 3, 4]
    other = pin(writable, ~KEPT)
    np.testing.assert_array_equal(features.numpy(mask=True)[0], x[:, KEPT], "a snapshot stays with the mask it read first")
    np.testing.assert_array_equal(features.refresh().numpy(mask=True)[0], x[:, ~KEPT])
    np.testing.assert_array_equal(features.numpy(mask=first)[0], x[:, KEPT])
    np.testing.assert_array_equal(features.numpy(mask=other.rsplit("/", 1)[0])[0], x[:, ~KEPT])


def test_there_is_no_mask(writable: Made):
    features = open_features(writable.place)
    with pytest.raises(DataError, match=r"has no mask under the default rule; `trunkline select` .* There is none at all"):
        features.numpy(mask=True)
    other = pin(writable, rule="0123")
    with pytest.raises(DataError, match=rf"masks of other rules; give one as mask=URI: {re.escape(other.rsplit('/', 1)[0])}"):
        features.numpy(mask=True)
    for place in (f"{other}.npz", "/nowhere"):
        with pytest.raises(DataError, match=rf"There is no mask at {place}. Masks lie at STORE/masks"):
            features.numpy(mask=place)


def test_a_mask_of_another_recipe_is_refused_though_it_has_the_same_width(writable: Made):
    features = open_features(writable.place)
    own = features.recipe.digest()
    assert features.numpy(mask=pin(writable, rule="own", recipe=own))[0].shape[1] == KEPT.sum()
    words = (
        rf"was fitted on features of the recipe 0123456789abcdef, and these are of {own} \(efficientnet-lite0\): their columns mean "
        r"something else\. Fit one on them: `trunkline select`"
    )
    with pytest.raises(DataError, match=words):
        features.numpy(mask=pin(writable, rule="other", recipe="0123456789abcdef"))


def test_a_mask_of_other_features_is_refused(writable: Made):
    features = open_features(writable.place)
    with pytest.raises(DataError, match=r"is for 3 features, and pool has 6: it was fitted on another feature set"):
        features.numpy(mask=pin(writable, KEPT[:3], "wide"))
    with pytest.raises(DataError, match=r"is not about the layer 'late', but about pool"):
        features.numpy(mask=pin(writable), layer="late")
