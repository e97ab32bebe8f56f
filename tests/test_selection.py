"""Masks: written once, pinned, read back as they were; older ones too; and how one differs from another."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trunkline import selection
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.moments import Moments
from trunkline.selection import LayerMask, Move
from trunkline.specs import SelectSpec
from trunkline.variance_filter import fit_layer

PIXELS = load_digits().data.astype(np.float32)
MOMENTS = Moments.of(PIXELS)


def test_a_mask_is_read_back_as_it_was_written(tmp_path):
    folder = Location.of(tmp_path / "masks")
    layers = {name: fit_layer(MOMENTS, SelectSpec(threshold=t), name) for name, t in (("a", 0.1), ("b/c", 9.5))}
    made = selection.create(folder, 1797, layers, "0123456789abcdef", 2048)
    found = selection.load_latest(folder)
    assert found is not None
    assert (found.location, found.rows, set(found.layers)) == (made.location, 1797, {"a", "b/c"})
    assert (found.recipe, found.stop) == (made.recipe, made.stop) == ("0123456789abcdef", 2048)
    assert found.digest == made.digest
    for name, layer in layers.items():
        assert found.layers[name].threshold == layer.threshold
        assert found.layers[name].arrays().keys() == {"kept", "variances", "means", "fates", "duplicate_of"}
        for what, array in layer.arrays().items():
            np.testing.assert_array_equal(found.layers[name].arrays()[what], array)


def test_a_mask_of_before_means_and_reasons_still_loads(tmp_path):
    place = Location.of(tmp_path) / "mask-000000.npz"
    place.write(damaged())
    found = selection.load(place)
    assert (found.rows, found.recipe, found.stop) == (2, "", 0)
    assert found.layers["a"].kept.tolist() == [True]
    assert found.layers["a"].means is found.layers["a"].fates is found.layers["a"].duplicate_of is None


def test_the_digest_is_of_what_stays_alone(tmp_path):
    """Heads depend on it: another threshold that keeps the same features changes none of them."""
    layer = fit_layer(MOMENTS, SelectSpec(threshold=0.1), "a")
    older = LayerMask(layer.kept, layer.variances * 2, 0.2)
    one, other = (
        selection.create(Location.of(tmp_path / name), 10, {"a": each}) for name, each in (("1", layer), ("2", older))
    )
    assert one.digest == other.digest


def test_how_a_mask_moved():
    before, after = (LayerMask(np.array(kept, bool), np.ones(6), 0.0) for kept in ([1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 0]))
    assert selection.moved(before, after) == Move(kept_before=4, kept_after=3, dropped=2, added=1, overlap=2 / 5)
    assert selection.moved(before, before).overlap == 1.0


def test_the_newest_mask_counts_and_has_a_digest_of_its_own(tmp_path):
    folder = Location.of(tmp_path / "rule")
    assert selection.load_latest(folder) is None
    layers = [{"a": fit_layer(MOMENTS, SelectSpec(threshold=threshold), "a")} for threshold in (0.1, 0.1, 0.0)]
    assert not np.array_equal(layers[0]["a"].kept, layers[2]["a"].kept)
    one, same, other = (selection.create(folder, 10 + number, each) for number, each in enumerate(layers))
    assert folder.names() == [f"mask-{number:06d}.npz" for number in range(3)]
    assert one.digest == same.digest != other.digest
    latest = selection.load_latest(folder)
    assert latest is not None
    assert (latest.rows, latest.digest) == (12, other.digest)
    one.location.remove()
    assert selection.create(folder, 13, layers[0]).location.name == "mask-000003.npz"


def test_of_masks_made_at_once_one_holds_for_all(tmp_path):
    folder, barrier = Location.of(tmp_path / "rule"), threading.Barrier(8)
    layer = fit_layer(MOMENTS, SelectSpec(threshold=0.1), "a")

    def make(rows: int) -> selection.Mask:
        barrier.wait()
        return selection.create(folder, rows, {"a": layer})

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    stored = {name: selection.load(folder / name).rows for name in folder.names()}
    assert {mask.location.name for mask in made} == set(stored)
    assert all(mask.rows == stored[mask.location.name] for mask in made)


def damaged(**change: object) -> bytes:
    out = io.BytesIO()
    said = json.dumps({"rows": 2, "thresholds": {"a": 0.1}})
    arrays = {"said": np.array(said), "a/kept": np.array([True]), "a/variances": np.array([1.0])} | change
    np.savez(out, **{name: value for name, value in arrays.items() if value is not None})
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        damaged()[:-30],
        damaged(said=None),
        damaged(said=np.array("no json")),
        damaged(said=np.array("{}")),
        damaged(**{"a/kept": None}),
        damaged(**{"a/kept": np.array([1])}),
        damaged(**{"a/variances": np.ones(2)}),
        damaged(**{"a/means": np.ones(2)}),
        damaged(**{"a/kept": np.array([{"an": "object"}], object)}),
    ],
)
def test_a_damaged_mask_is_said(tmp_path, content):
    place = Location.of(tmp_path) / "mask-000000.npz"
    place.write(damaged())
    assert selection.load(place).rows == 2
    place.write(content)
    with pytest.raises(CorruptStore, match=r"mask-000000\.npz is damaged \(.*Delete it: it is fitted anew from the moments"):
        selection.load(place)
