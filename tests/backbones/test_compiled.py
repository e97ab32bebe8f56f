"""The compiled backbone in the store: compiled once, complete or not there, and its mistakes in words."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from trunkline.backbones import compiled as module
from trunkline.backbones.compiled import committed_backbone, compiled
from trunkline.errors import BackboneError, CorruptStore, StoreError
from trunkline.locations import Location

FILES = ("golden.npz", "model.bin", "model.keras", "model.xml")


def changed(order, **recipe):
    return order.model_copy(update={"recipe": order.recipe.model_copy(update=recipe)})


@pytest.fixture
def store(compiled_lite0, tmp_path):
    shutil.copytree(compiled_lite0 / "backbones", tmp_path / "backbones")
    return Location.of(tmp_path)


def test_it_says_what_it_is(store, lite0_order):
    found = compiled(store, lite0_order)
    assert (found.size, found.batch, found.pixels) == (224, 2, "uint8")
    assert (found.shapes, found.dims) == ({"avg_pool": (1280,)}, {"avg_pool": 1280})
    assert found.runs_on_tensorflow
    # the published 407 million multiply-adds, less the classifier's 1.28
    assert found.multiply_accumulates == pytest.approx(407e6 - 1.28e6, rel=0.06)
    assert sorted(found.sha256) == sorted(FILES)
    assert found.location.names() == sorted([found.files, "backbone.json"])
    assert (found.location / found.files).names() == sorted(FILES)


def test_weights_are_kept_in_full_precision(store, lite0_order):
    found = compiled(store, lite0_order)
    convolutions = 3_341_000  # parameters up to avg_pool, normalisations folded in
    assert len(found.file("model.bin")) > 4 * convolutions


def test_golden_vectors_are_features(store, lite0_order):
    golden = compiled(store, lite0_order).golden()
    assert {layer: (values.shape, values.dtype) for layer, values in golden.items()} == {
        "avg_pool": ((8, 1280), np.dtype(np.float32))
    }
    values = golden["avg_pool"]
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= 6
    assert len(np.unique(values.round(3), axis=0)) == 8


def test_it_is_compiled_once(store, lite0_order, monkeypatch):
    monkeypatch.setattr(module, "_compile", lambda *_: pytest.fail("compiled again"))
    one = compiled(store, lite0_order)
    assert compiled(store, lite0_order) == one
    # preparation and storage of a recipe do not touch the network
    same = changed(lite0_order, fit="stretch", kernel="area", decoder="x", dtype="float16", decode="scaled", antialias=True)
    assert compiled(store, same) == one


@pytest.mark.parametrize(
    "change",
    [
        {"layers": ("nope",)},
        {"size": 32},
        {"weights": "0" * 64},
        {"normalisation": "x"},
        {"precision": "mixed_float16"},
        {"pooling": "max"},
        {"pooling": "none", "maps": "kept"},
        {"pixels": "float32"},
    ],
)
def test_another_network_is_compiled_apart(store, lite0_order, monkeypatch, change):
    asked = []
    monkeypatch.setattr(module, "_compile", lambda location, _: asked.append(location.name))
    with pytest.raises(FileNotFoundError):
        compiled(store, changed(lite0_order, **change))
    assert len(asked) == 1
    assert asked[0] not in (store / "backbones").names()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [lambda _: b"", lambda content: content[:-1], lambda content: content[:-1] + b"\0\1", None])
def test_a_damaged_or_missing_file_is_said(store, lite0_order, name, damage):
    found = compiled(store, lite0_order)
    place = found.location / found.files / name
    if damage is None:
        place.remove()
    else:
        place.write(damage(place.read()))
    with pytest.raises(
        CorruptStore, match=rf"{name} is damaged or incomplete\. Delete .*backbones/.*so that it is compiled anew"
    ):
        found.golden() if name == "golden.npz" else found.file(name)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"3", b'{"size": 224}', b"\xff"])
def test_a_damaged_description_is_said(store, lite0_order, content):
    (compiled(store, lite0_order).location / "backbone.json").write(content)
    with pytest.raises(CorruptStore, match=r"backbone\.json is damaged\. Delete .*so that it is compiled anew"):
        compiled(store, lite0_order)


def test_the_description_is_what_makes_it_count(store, lite0_order, monkeypatch):
    location = compiled(store, lite0_order).location
    said = json.loads((location / "backbone.json").read())
    (location / "backbone.json").remove()
    asked = []

    def compile_again(place: Location, _: object) -> None:
        asked.append(place)
        (place / "backbone.json").write(json.dumps(said).encode())

    monkeypatch.setattr(module, "_compile", compile_again)
    assert compiled(store, lite0_order).dims == {"avg_pool": 1280}
    assert asked == [location]


def test_a_users_mistake_comes_back_from_the_compiling_process(tmp_path, lite0_order):
    with pytest.raises(BackboneError, match=r"^The backbone efficientnet-lite0 has no layer 'nope'\."):
        compiled(Location.of(tmp_path), changed(lite0_order, layers=("nope",)))
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_shares_the_files_of_float32(store, lite0_order):
    fast = compiled(store, changed(lite0_order, precision="bf16"))
    assert (fast.location, fast.precision) == (compiled(store, lite0_order).location, "bf16")


def test_the_backbone_of_a_commit_is_found_by_its_recipe_and_batch(store, lite0_order):
    found = compiled(store, lite0_order)
    assert committed_backbone(store, lite0_order.recipe, str(2)) == found
    assert committed_backbone(store, lite0_order.recipe, None) == found
    assert committed_backbone(store, lite0_order.recipe, "7") == found  # another batch: near, not equal bit for bit
    with pytest.raises(StoreError, match=r"does not hold the compiled backbone .* Run `trunkline extract` with the same spec"):
        committed_backbone(store, changed(lite0_order, layers=("head_relu",)).recipe, None)


def test_of_two_that_compile_at_once_one_holds(tmp_path, lite0_order, monkeypatch):
    """Both write their own files; the first description counts, and its files are whole."""
    built = []

    def build(_action: str, _order: object, folder) -> dict:
        built.append(len(built))
        for name in FILES:
            (folder / name).write_bytes(f"{name} of run {built[-1]}".encode())
        if len(built) == 1:  # the other run starts and ends while this one compiles
            assert compiled(Location.of(tmp_path), lite0_order).file("model.bin") == b"model.bin of run 1"
        return {"batch": 32, "shapes": {"avg_pool": [4]}, "multiply_accumulates": 1}

    monkeypatch.setattr(module, "in_its_own_process", build)
    found = compiled(Location.of(tmp_path), lite0_order)
    assert built == [0, 1]
    assert [found.file(name) for name in FILES] == [f"{name} of run 1".encode() for name in FILES]
