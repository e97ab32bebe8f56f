"""The file that is left: golden check, what cannot be saved, stores that are no disk."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import psutil
import pytest

from tests.finetuning.small import job_of, scanned
from trunkline.backbones import own, own_keras
from trunkline.errors import BackboneError, GoldenMismatch, RunError, StoreError
from trunkline.finetuning import result
from trunkline.finetuning.network import TunedNetwork
from trunkline.finetuning.process import trained_elsewhere
from trunkline.finetuning.worker import finetuned
from trunkline.locations import Location
from trunkline.progress import Step, silent
from trunkline.stages.finetune import finetune

pytestmark = [
    pytest.mark.usefixtures("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)


def tuned_of(job: object) -> TunedNetwork:
    return TunedNetwork(job.order, job.tune, job.unfrozen, len(job.images.classes))  # type: ignore[attr-defined]


def test_a_file_that_does_not_give_the_trained_features_is_not_written(small_spec):
    job = job_of(small_spec)
    tuned = tuned_of(job)
    content = result.file_of(tuned)
    result.refuse_another_network(job, tuned, content, PIXELS)
    kernel = tuned.trunk.get_layer("block2_conv")
    kernel.set_weights([-each for each in kernel.get_weights()])
    with pytest.raises(
        GoldenMismatch, match=r"does not give the features that the trained network gives .* Nothing was written"
    ):
        result.refuse_another_network(job, tuned, content, PIXELS)


def test_the_files_features_equal_the_trained_networks_bit_for_bit(small_spec, tmp_path):
    from trunkline.backbones import network

    job = job_of(small_spec)
    tuned = tuned_of(job)
    path = tmp_path / "backbone.keras"
    path.write_bytes(result.file_of(tuned))
    model = network.truncated(own_keras.load(path, 16), job.order.recipe, job.order.network.backbone.normalisation, 8)
    np.testing.assert_array_equal(model(PIXELS, training=False)["pool"], tuned.features()(PIXELS))


def test_a_network_that_no_file_holds_is_refused_before_training(small_spec, monkeypatch):
    """Such a network is stood in for."""

    def refuse(*_: object) -> None:
        raise BackboneError("It holds a layer of the class 'Odd', which is not on the list.")

    job = job_of(small_spec)
    tuned = tuned_of(job)
    monkeypatch.setattr(own_keras, "load", refuse)
    with pytest.raises(BackboneError, match=r"small.keras cannot be fine-tuned, as a file of it would not be taken .* 'Odd'"):
        result.refuse_what_no_file_holds(job, tuned)
    assert not job.place.exists()


@pytest.mark.slow
def test_a_store_that_is_no_disk(tmp_path, digits_folder, small_network):
    uri = f"memory://finetune-{tmp_path.name}/store"
    spec = scanned(tmp_path, digits_folder, small_network).model_copy(update={"store": uri})
    from trunkline.stages.scan import scan

    scan(spec)
    with pytest.raises(StoreError, match=r"lives in this process, and training runs in another"):
        finetune(spec, job_of(spec).tune)
    job = job_of(spec, name="mine")
    lineage = finetuned(job, silent)
    assert (job.place / "logs/layers").names()
    assert not (job.place / "checkpoints").names()
    backbone = f"{uri}/finetuned/mine/backbone.keras"
    assert own.describe(backbone).cut == "pool"
    assert own.digest(own.fetch(backbone, tmp_path / "fetched")) == lineage["sha256"]
    assert json.loads((Location.of(uri) / "finetuned/mine/lineage.json").read()) == lineage


@pytest.mark.slow
def test_a_process_that_dies_is_said_and_gone_on_from(small_spec):
    job = job_of(small_spec, name="mine", epochs=50, patience=50)

    def kill(step: Step) -> None:
        if step.stage == "finetune":
            (child,) = [each for each in psutil.Process().children() if "trunkline.finetuning.worker" in each.cmdline()]
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(
        RunError, match=r"(?s)The process that trains ended with status -9: .* it goes on from the last checkpoint"
    ):
        trained_elsewhere(job, kill)
    assert trained_elsewhere(job, silent)["resumed"] >= 3
