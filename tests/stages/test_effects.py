"""What a faster recipe does to the features is measured once, kept, and told."""

from __future__ import annotations

import pytest

from tests.stores import extracted
from trunkline.cluster import Cluster
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


def test_scaled_decoding_of_small_pictures_changes_nothing(spec):
    preparation = spec.preparation.model_copy(update={"decode": "scaled"})
    (effect,) = extracted(spec.model_copy(update={"preparation": preparation})).effects
    assert (effect.what, effect.images) == ("scaled decoding against exact", 64)
    assert effect.lowest_cosine == pytest.approx(1.0, abs=1e-12)
