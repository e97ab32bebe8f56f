"""What a faster recipe does to the features is measured once, kept, and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores import extracted
from trunkline.clusters import Cluster
from trunkline.errors import SpecError
from trunkline.runtimes.openvino import has_bf16
from trunkline.stages import effects as module
from trunkline.stages.extract import extract, survey

needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="the processor has no bfloat16; its refusal is tested with the runtimes")


def test_an_exact_recipe_has_none(finished):
    assert survey(finished).effects == []


@needs_bf16
def test_the_effect_of_bfloat16_is_measured_once_and_kept(spec, monkeypatch):
    fast = spec.model_copy(update={"precision": "bf16"})
    first = extracted(fast)
    (effect,) = first.effects
    assert (effect.what, effect.images) == ("bf16 against f32", 64)
    assert 0.95 < effect.lowest_cosine <= effect.mean_cosine < 1.0
    assert first.engine is not None
    assert (first.engine.precision, first.engine.runtime) == ("bf16", "openvino")
    monkeypatch.setattr(module, "Reextraction", lambda *_: pytest.fail("measured again"))
    with Cluster(fast.cluster) as cluster:
        assert extract(fast, cluster).effects == [effect]
    assert survey(fast).effects == [effect]


def test_what_cannot_be_measured_here_fails_no_extraction(spec, monkeypatch, caplog):
    def lacking(*_):
        raise SpecError("precision bf16: this processor has no bfloat16 arithmetic")

    monkeypatch.setattr(module, "Reextraction", lacking)
    preparation = spec.preparation.model_copy(update={"decode": "scaled"})
    receipt = extracted(spec.model_copy(update={"preparation": preparation}))
    assert (receipt.counts.ok, receipt.effects) == (80, [])
    assert "was not measured: precision bf16" in caplog.text


def test_pictures_that_changed_since_say_nothing_of_the_recipe(spec, images):
    from PIL import Image

    preparation = spec.preparation.model_copy(update={"decode": "scaled"})
    scaled = spec.model_copy(update={"preparation": preparation})
    extracted(scaled)
    (place,) = Path(scaled.store).glob("features/*/*/effects.json")
    place.unlink()
    for path in sorted(images.rglob("*.png"))[:20]:
        Image.new("L", (32, 32), 7).save(path)
    with Cluster(scaled.cluster) as cluster:
        (effect,) = extract(scaled, cluster).effects
    assert effect.images < 64
    assert effect.lowest_cosine == pytest.approx(1.0, abs=1e-12)


def test_scaled_decoding_of_small_pictures_changes_nothing(spec):
    preparation = spec.preparation.model_copy(update={"decode": "scaled"})
    (effect,) = extracted(spec.model_copy(update={"preparation": preparation})).effects
    assert (effect.what, effect.images) == ("scaled decoding against exact", 64)
    assert effect.lowest_cosine == pytest.approx(1.0, abs=1e-12)
