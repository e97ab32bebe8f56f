"""The stage: what is refused before anything is trained, and the process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.finetuning.conftest import small_network, small_spec  # noqa: F401
from tests.finetuning.small import QUICK
from trunkline.errors import BackboneError, CorruptStore, DataError, StorageError, StoreError
from trunkline.locations import Location
from trunkline.specs import FinetuneSpec, RunSpec
from trunkline.stages.finetune import finetune, with_the_result

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def tune(**changes: object) -> FinetuneSpec:
    return FinetuneSpec.model_validate(QUICK | {"name": "mine"} | changes)


def changed(spec: RunSpec, **changes: object) -> RunSpec:
    return RunSpec.model_validate(spec.model_dump() | changes)


def left_by(spec: RunSpec) -> list[str]:
    return (Location.of(spec.store) / "finetuned").names()


def test_bad_input_is_refused_before_anything_is_written(small_spec, monkeypatch):  # noqa: F811
    cases = [
        (
            small_spec,
            tune(unfreeze="8"),
            BackboneError,
            r"small.keras has 7 layers up to the cut, so the last 8 cannot be unfrozen",
        ),
        (small_spec, tune(unfreeze="blok2"), BackboneError, r"no layer or block 'blok2' .*Did you mean block2"),
        (changed(small_spec, layers=["pol"]), tune(), BackboneError, r"has no layer 'pol'. Did you mean pool.* lists its"),
        (changed(small_spec, layers=["pool", "relu"]), tune(), BackboneError, r"one cut, and 2 are named \(pool, relu\)"),
        (
            changed(small_spec, target={"kind": "regression"}, heads=[{"kind": "ridge"}]),
            tune(),
            DataError,
            r"learns classes, and the target is regression",
        ),
        (changed(small_spec, dataset="nothing"), tune(), StoreError, r"holds no dataset 'nothing'"),
        (changed(small_spec, store=small_spec.source + "/none"), tune(), StoreError, r"There is no feature store at"),
    ]
    for spec, how, kind, words in cases:
        with pytest.raises(kind, match=words):
            finetune(spec, how)
    monkeypatch.setattr(Location, "free", lambda _: 1000)
    with pytest.raises(StorageError, match=r"has 0 MiB free, and checkpoints and result of 1,\d+ parameters take up to"):
        finetune(small_spec, tune())
    assert left_by(small_spec) == []


def test_an_onnx_network_cannot_be_trained(small_spec, tmp_path):  # noqa: F811
    from tests.backbones import onnx_nets

    path = onnx_nets.save(onnx_nets.convolutional(), tmp_path)
    path.with_suffix(".yaml").write_text("{size: 16, normalisation: torch}")
    with pytest.raises(BackboneError, match=r"net.onnx is an ONNX network, which can be run but not trained here"):
        finetune(changed(small_spec, backbone=str(path)), tune())


@pytest.mark.slow
def test_a_process_of_its_own_does_it_and_the_result_is_there_the_next_time(small_spec):  # noqa: F811
    first = finetune(small_spec, tune())
    again = finetune(small_spec, tune())
    assert (first.cached, again.cached) == (False, True)
    assert again.sha256 == first.sha256
    assert again.metrics is not None
    assert json.loads(json.dumps(again.summary()))["metrics"]["rows"] == again.metrics.rows
    with pytest.raises(StoreError, match=r"finetuned/mine holds a backbone that was fine-tuned with other settings"):
        finetune(small_spec, tune(rate=1e-4))
    after = with_the_result(small_spec, first)
    assert (after.backbone, after.preparation.size) == (first.backbone, None)
    (Path(first.backbone).parent / "lineage.json").write_text("[")
    with pytest.raises(CorruptStore, match=r"lineage.json is damaged .* Delete .*mine, and fine-tune again"):
        finetune(small_spec, tune())


@pytest.mark.slow
def test_errors_come_out_of_the_process_as_they_are(small_spec):  # noqa: F811
    with pytest.raises(DataError, match=r"Training the last layers diverged .* The last good checkpoint is kept \(.*head-"):
        finetune(small_spec, tune(rate=1e30))


@pytest.mark.slow
def test_without_a_name_other_settings_lie_beside(small_spec):  # noqa: F811
    names = [finetune(small_spec, tune(name=None, epochs=epochs, head_epochs=1)).name for epochs in (1, 2)]
    assert left_by(small_spec) == sorted(names)
    assert all(name.startswith("small-digits-") for name in names)
