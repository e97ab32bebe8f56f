"""The audit: a whole store passes, and every planted change is found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from tests.stores import copy_of, empty_store, feature_set_in, images_in, spec_for
from trunkline.errors import DataError, StoreError
from trunkline.stages.audit import audit

ALL = 1000


@pytest.fixture
def audited(finished_store: Path, tmp_path: Path) -> Path:
    """A store with its own copy of the images, bound to where they were; both to be changed at will."""
    store = copy_of(finished_store, tmp_path / "store")
    shutil.copytree(finished_store.parent / "images", tmp_path / "images")
    bound = store / "datasets" / "digits" / "source.json"
    bound.unlink()
    bound.write_text(json.dumps({"root": str(tmp_path / "images")}))
    return store


def images_of(store: Path) -> list[Path]:
    return sorted((store.parent / "images").rglob("*.png"))


def test_a_whole_store_is_equal_bit_for_bit(audited: Path):
    (found,) = audit(str(audited), sample=ALL)
    assert (found.rows, found.checked, found.same_bytes, found.equal_bits, found.same_environment) == (160,) * 5
    assert (found.largest_deviation, found.lowest_cosine) == (0.0, pytest.approx(1.0))
    assert found.findings == ()


def test_a_sample_is_drawn_and_the_same_seed_draws_it_again(audited: Path):
    seen: list[int] = []
    (found,) = audit(str(audited), sample=20, seed=3, progress=lambda step: seen.append(step.done))
    assert (found.checked, seen[0], seen[-1]) == (20, 0, 20)
    assert audit(str(audited), sample=20, seed=3) == [found]


def test_changed_bytes_and_a_lost_image_are_found(audited: Path):
    changed, lost, broken = images_of(audited)[::60]
    Image.new("L", (32, 32), 200).save(changed)
    lost.unlink()
    broken.write_bytes(broken.read_bytes()[:40])
    (found,) = audit(str(audited), sample=ALL)
    kinds = {finding.id: finding.kind for finding in found.findings}
    assert kinds == {
        f"{p.parent.name}/{p.name}": kind for p, kind in ((changed, "changed"), (lost, "missing"), (broken, "corrupt"))
    }
    assert (found.same_bytes, found.equal_bits, found.largest_deviation) == (157, 157, 0.0)
    assert found.kinds == {"changed": 1, "missing": 1, "corrupt": 1}


def test_features_that_were_tampered_with_are_found(audited: Path):
    array = zarr.open(str(feature_set_in(audited) / "features.zarr"), mode="r+")["avg_pool"]
    row = np.array(array[7])
    row[3] += 0.25
    array[7] = row
    (found,) = audit(str(audited), sample=ALL)
    assert [(finding.row, finding.kind) for finding in found.findings] == [(7, "damaged")]
    assert "not those that were committed" in found.findings[0].detail


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_object_is_found_and_the_others_are_checked_all_the_same(audited: Path, damage: str):
    (place,) = sorted((feature_set_in(audited) / "features.zarr" / "avg_pool" / "c").glob("1/*"))
    content = bytearray(place.read_bytes())
    content[200] ^= 0xFF
    if damage == "gone":
        place.unlink()
    else:
        place.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    (found,) = audit(str(audited), sample=ALL)
    assert found.kinds.keys() == {"damaged"}
    assert {finding.row // 64 for finding in found.findings} == {1}
    assert found.equal_bits == 160 - len(found.findings)
    if damage != "flipped":
        assert len(found.findings) == 64


def test_features_that_another_network_made_deviate(audited: Path, monkeypatch: pytest.MonkeyPatch):
    """As after an update of a library that computes something else: same bytes, other features."""
    from trunkline.runtimes.openvino import OpenVinoRuntime

    run = OpenVinoRuntime.run

    def off(self: OpenVinoRuntime, pixels: np.ndarray) -> dict[str, np.ndarray]:
        return {layer: values + 1e-3 for layer, values in run(self, pixels).items()}

    monkeypatch.setattr(OpenVinoRuntime, "run", off)
    (found,) = audit(str(audited), sample=10)
    assert found.kinds == {"deviates": 10}
    assert found.largest_deviation == pytest.approx(1e-3, rel=0.01)
    assert found.equal_bits == 0
    assert "on the same kind of machine" in found.findings[0].detail


def test_on_another_kind_of_machine_a_little_is_allowed(audited: Path, monkeypatch: pytest.MonkeyPatch):
    from trunkline import environment
    from trunkline.runtimes.openvino import OpenVinoRuntime

    run = OpenVinoRuntime.run
    monkeypatch.setattr(environment, "fingerprint", lambda: {"machine": "another"})
    off = 1e-6

    def slightly(self: OpenVinoRuntime, pixels: np.ndarray) -> dict[str, np.ndarray]:
        return {layer: values * np.float32(1 + off * np.sign(values - 0.3)) for layer, values in run(self, pixels).items()}

    monkeypatch.setattr(OpenVinoRuntime, "run", slightly)
    (found,) = audit(str(audited), sample=10)
    assert (found.same_environment, found.equal_bits, found.findings) == (0, 0, ())
    off = 0.05
    (found,) = audit(str(audited), sample=10)
    assert found.kinds == {"deviates": 10}
    assert "at least 0.99999 is expected" in found.findings[0].detail


def test_a_wrong_question_is_answered_in_words(audited: Path, tmp_path: Path, digits_folder: Path, compiled_lite0: Path):
    with pytest.raises(StoreError, match=r"holds no dataset 'digit'\. Did you mean digits\? It has: digits\."):
        audit(str(audited), dataset="digit")
    with pytest.raises(StoreError, match="There is no feature store at"):
        audit(str(tmp_path / "nowhere"))
    from trunkline.stages.scan import scan

    spec = spec_for(images_in(tmp_path / "few", digits_folder, 3), empty_store(tmp_path / "scanned", compiled_lite0))
    scan(spec)
    with pytest.raises(DataError, match=r"There is nothing to audit in .*: no shard is committed yet"):
        audit(spec.store)


def test_a_store_without_its_backbone_says_how_to_get_it_back(audited: Path):
    shutil.rmtree(audited / "backbones")
    with pytest.raises(StoreError, match=r"does not hold the compiled backbone .* Run `trunkline extract` with the same spec"):
        audit(str(audited))
