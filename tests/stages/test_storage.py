"""Float16 and compression through the stages: another feature set, the same audit, and what is fixed stays fixed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.stores import extracted, feature_set_in
from trunkline import moments, open_features
from trunkline.backbones.resolution import resolve
from trunkline.clusters import Cluster
from trunkline.errors import SpecError, StoreError
from trunkline.runtimes.openvino import OpenVinoRuntime
from trunkline.specs import RunSpec, StorageSpec, build_spec
from trunkline.stages.audit import audit
from trunkline.stages.extract import extract
from trunkline.stages.run import run
from trunkline.store.layout import cast


def stored_as(spec: RunSpec, **storage: object) -> RunSpec:
    return spec.model_copy(update={"storage": StorageSpec.model_validate(spec.storage.model_dump() | storage)})


def test_float16_is_another_recipe_and_the_default_one_is_as_before(spec: RunSpec):
    plain, half = resolve(spec), resolve(stored_as(spec, dtype="float16"))
    assert (plain.dtype, half.dtype) == ("float32", "float16")
    assert half.digest() != plain.digest()
    assert resolve(stored_as(spec, compression="none")) == plain


@pytest.mark.parametrize("format_", ["zarr", "hdf5"])
def test_a_whole_run_in_float16(spec: RunSpec, format_: str):
    half = stored_as(spec, dtype="float16", format=format_)
    with Cluster(half.cluster) as cluster:
        summary = run(half, cluster).summary()
    assert summary["features"]["dtype"] == "float16"
    assert summary["ok"] == 80
    assert summary["heads"][0]["macro_f1"] > 0.3
    features = open_features(feature_set_in(Path(half.store)))
    x, _ = features.numpy("train")
    assert x.dtype == np.float16
    rows = features.rows("train")
    of_all = moments.merged(
        moments.load(moments.place(features.feature_set.moments, shard.name, inside), features.layers)["avg_pool"]
        for shard in features.shards()
        if len(inside := rows[(rows >= shard.start) & (rows < shard.stop)])
    )
    np.testing.assert_allclose(of_all.variance, x.astype(np.float64).var(axis=0), rtol=1e-9, atol=1e-15)
    (found,) = audit(half.store, sample=1000)
    assert (found.checked, found.equal_bits, found.largest_deviation, found.findings) == (80, 80, 0.0, ())


def test_float16_holds_the_nearest_values_and_its_effect_is_told(spec: RunSpec):
    plain = open_features(extracted(spec).feature_set)
    receipt = extracted(stored_as(spec, dtype="float16"))
    half = open_features(receipt.feature_set)
    np.testing.assert_array_equal(half.numpy()[0], cast(plain.numpy()[0], "float16"))
    (effect,) = receipt.effects
    assert (effect.what, effect.images) == ("stored in float16 against float32", 64)
    assert 0.99999 < effect.lowest_cosine < 1.0


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ({"format": "hdf5"}, r"is stored as zarr; the format is fixed"),
        ({"rows_per_shard": 128}, r"has 64 rows a shard, not 128"),
        ({"compression": "zstd-3"}, r"is compressed by blosc-lz4-5, not zstd-3"),
    ],
)
def test_what_is_fixed_stays_fixed(spec: RunSpec, storage: dict[str, object], words: str):
    fast = stored_as(spec, compression="blosc-lz4")
    feature_set = extracted(fast).feature_set
    assert json.loads((Path(feature_set) / "layout.json").read_text())["compression"] == "blosc-lz4-5"
    with Cluster(fast.cluster) as cluster:
        with pytest.raises(StoreError, match=words):
            extract(stored_as(spec, **storage), cluster)
        for same in (fast, spec):  # what a spec leaves out stays as it is
            assert extract(same, cluster).reused == 80


def test_a_compression_that_the_format_lacks_is_refused_with_the_spec():
    storage = {"format": "hdf5", "compression": "blosc-lz4"}
    with pytest.raises(
        SpecError, match=r"here: 'storage': hdf5 has no compression 'blosc-lz4'; it has none, gzip \(or gzip-1 to"
    ):
        build_spec({"source": "a", "store": "b", "storage": storage}, where="here")


def test_values_beyond_float16_are_quarantined_and_the_detail_names_it(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    computed = OpenVinoRuntime.run

    def louder(runtime: OpenVinoRuntime, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The first image of each batch shouts."""
        found = {layer: values.copy() for layer, values in computed(runtime, pixels).items()}
        for values in found.values():
            values[0, 5] = 70_000.0
        return found

    monkeypatch.setattr(OpenVinoRuntime, "run", louder)
    monkeypatch.setattr("trunkline.runtimes.check", lambda *_: 1.0)  # it would notice
    half = stored_as(spec, dtype="float16").model_copy(update={"max_bad_fraction": 1.0})
    receipt = extracted(half)
    assert receipt.reasons == {"non-finite": receipt.counts.quarantined}
    assert receipt.counts.quarantined >= 10
    bad = [row for row in open_features(receipt.feature_set).index().to_pylist() if row["status"] == "quarantined"]
    assert all("a value beyond ±65,504, where float16 ends; storage.dtype float32 has room" in row["detail"] for row in bad)
    assert np.isfinite(open_features(receipt.feature_set).numpy()[0]).all()
    assert extracted(stored_as(spec)).counts.ok == 80
