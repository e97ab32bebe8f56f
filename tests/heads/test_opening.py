"""Opening: the head that is meant, as it was fitted, and no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.made_heads import DIGEST, linear, mask_of, with_head, write_head
from tests.stores import copy_of
from trunkline import open_features
from trunkline.errors import CorruptStore, DataError
from trunkline.heads.opening import OpenHead, chosen_in, fitted_in, open_head
from trunkline.locations import Location

OTHER = "fedcba9876543210"


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def opened(store: Path, location: Location) -> OpenHead:
    features = open_features(store)
    return open_head(location, Location.of(store), features.recipe.digest(), features.layers)


def edit(location: Location, **changes: object) -> None:
    said = json.loads((location / "head.json").read())
    (location / "head.json").write(json.dumps(said | changes).encode())


def test_a_head_answers_over_all_columns_as_it_does_over_those_it_keeps(store: Path):
    location = with_head(store)
    head, features = opened(store, location), open_features(store)
    kept = mask_of(features, store).layers["avg_pool"].kept
    x = features.numpy("test")[0]
    expected = linear(features, store).outputs(x[:, kept])
    np.testing.assert_array_equal(head.outputs(x), expected)
    assert (head.name, head.kind, head.digest, head.layer) == (f"softmax-{DIGEST}", "softmax", DIGEST, "avg_pool")
    assert head.target.names == tuple("0123456789")
    assert head.columns.sum() == kept.sum() < len(kept)


def test_a_head_is_chosen_by_kind_name_or_digest(tmp_path: Path):
    folder = Location.of(tmp_path)
    for name in (f"softmax-{DIGEST}", f"softmax-{OTHER}", f"svm-{DIGEST}"):
        (folder / name / "head.json").write(b"{}")
    (folder / "svm-0000000000000000" / "linear.safetensors").write(b"")  # never finished
    assert fitted_in(folder) == [f"softmax-{DIGEST}", f"softmax-{OTHER}", f"svm-{DIGEST}"]
    assert chosen_in(folder, "svm") == f"svm-{DIGEST}"
    assert chosen_in(folder, f"softmax-{OTHER}") == chosen_in(folder, OTHER) == chosen_in(folder, "fedc") == f"softmax-{OTHER}"


def test_what_is_not_there_or_not_clear_is_refused(tmp_path: Path):
    folder = Location.of(tmp_path)
    with pytest.raises(DataError, match=r"No head was fitted yet under .*Run `trunkline fit`"):
        chosen_in(folder, None)
    for name in (f"softmax-{DIGEST}", f"softmax-{OTHER}"):
        (folder / name / "head.json").write(b"{}")
    with pytest.raises(DataError, match=r"There is no head 'softmx'. Did you mean softmax.* There are: softmax-0123"):
        chosen_in(folder, "softmx")
    with pytest.raises(DataError, match=rf"There are 2 heads of the kind softmax: softmax-{DIGEST}, .*by its digest"):
        chosen_in(folder, "softmax")
    with pytest.raises(DataError, match="There are 2 heads there"):
        chosen_in(folder, None)
    with pytest.raises(DataError, match="There is no head 'fed'"):  # three digits are too few to name anything
        chosen_in(folder, "fed")


def test_a_head_of_another_feature_set_is_refused(store: Path):
    location = with_head(store)
    said = json.loads((location / "head.json").read())
    edit(location, origin=said["origin"] | {"recipe": OTHER})
    with pytest.raises(
        DataError, match=rf"was fitted on the layer avg_pool of the recipe {OTHER}; these features are avg_pool of"
    ):
        opened(store, location)
    edit(location, origin=said["origin"] | {"layer": "block7"})
    with pytest.raises(DataError, match="was fitted on the layer block7"):
        opened(store, location)


def test_a_mask_that_is_another_or_gone_is_refused(store: Path):
    location = with_head(store)
    said = json.loads((location / "head.json").read())
    edit(location, origin=said["origin"] | {"mask_digest": OTHER})
    with pytest.raises(DataError, match=rf"is not the one that the head softmax-{DIGEST} was fitted with \(digest {OTHER}"):
        opened(store, location)
    edit(location, origin=said["origin"])
    (Location.of(store) / said["origin"]["mask"]).remove()
    with pytest.raises(CorruptStore, match="is gone, so nobody knows which columns it takes"):
        opened(store, location)


def test_damaged_heads_are_refused(store: Path):
    location = with_head(store)
    weights = location / "linear.safetensors"
    content = bytearray(weights.read())
    content[-5] ^= 1
    weights.write(bytes(content))
    with pytest.raises(CorruptStore, match=r"damaged or missing. Delete"):
        opened(store, location)
    weights.remove()
    with pytest.raises(CorruptStore, match="damaged or missing"):
        opened(store, location)
    for damaged in (b"{", b"[]", b'{"kind": "softmax"}'):
        (location / "head.json").write(damaged)
        with pytest.raises(CorruptStore, match=r"head.json"):
            opened(store, location)
    (location / "head.json").remove()
    with pytest.raises(CorruptStore, match=r"head.json is missing"):
        opened(store, location)


def test_weights_that_do_not_fit_mask_or_target_are_refused(store: Path):
    features = open_features(store)
    whole = linear(features, store)
    fewer = type(whole)(whole.standard, whole.weights[:, :3], "softmax")
    location = write_head(store, features, fewer)
    with pytest.raises(CorruptStore, match="gives 3 outputs, and its target has 10 names"):
        opened(store, location)
    standard = type(whole.standard)(whole.standard.mean[:5], whole.standard.deviation[:5])
    location = write_head(store, features, type(whole)(standard, whole.weights[:6], "softmax"))
    with pytest.raises(CorruptStore, match=r"does not take the .* columns of its mask"):
        opened(store, location)
