"""Training in this process, on a network of a few hundred weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.finetuning.small import LAYERS, job_of
from trunkline.backbones import own
from trunkline.errors import BackboneError, DataError, StorageError
from trunkline.finetuning import training
from trunkline.finetuning.checkpoints import Checkpoints
from trunkline.finetuning.network import TunedNetwork
from trunkline.finetuning.training import rate_at
from trunkline.finetuning.worker import finetuned
from trunkline.locations import Location
from trunkline.progress import Step, silent
from trunkline.specs import RunSpec

pytestmark = [
    pytest.mark.usefixtures("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def result(spec: RunSpec, progress: Any = silent, **tune: Any) -> tuple[Path, dict[str, Any]]:
    """The result's folder, and its lineage."""
    job = job_of(spec, **tune)
    return job.place.path, finetuned(job, progress)


def logged(folder: Path, tag: str) -> list[float]:
    """What TensorBoard would draw."""
    import tensorflow as tf

    (path,) = folder.iterdir()
    events = [tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    found = [(each.step, value) for each in events for value in each.summary.value if value.tag == tag]
    assert [step for step, _ in found] == list(range(1, len(found) + 1))
    assert {value.metadata.plugin_data.plugin_name for _, value in found} == {"scalars"}
    return [float(tf.make_ndarray(value.tensor)) for _, value in found]


class KilledError(Exception):
    """In place of kill -9, which the slow tests use."""


def killed_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies right after so many checkpoints."""
    write, count = Checkpoints.write, iter(range(1, 100))

    def counted(self: Checkpoints, checkpoint: Any) -> None:
        write(self, checkpoint)
        if next(count) == epochs:
            raise KilledError

    monkeypatch.setattr(Checkpoints, "write", counted)


def test_both_phases_leave_a_backbone_and_where_it_comes_from(small_spec):
    steps: list[Step] = []
    folder, lineage = result(small_spec, steps.append, name="first", widths=(16, 8))
    assert {path.name for path in folder.iterdir()} == {
        *("backbone.keras", "backbone.yaml", "history.json", "lineage.json", "report.html", "logs")
    }
    assert json.loads((folder / "lineage.json").read_text()) == lineage
    assert lineage["sha256"] == own.digest(folder / "backbone.keras")
    assert lineage["unfrozen"] == LAYERS[3:]
    assert lineage["epochs"] == {"head": 3, "layers": 3}
    history = json.loads((folder / "history.json").read_text())
    assert [(each["phase"], each["epoch"]) for each in history] == [
        (phase, n) for phase in ("head", "layers") for n in (1, 2, 3)
    ]
    assert lineage["metrics"]["rows"] == lineage["images"]["test"] > 0
    assert sum(lineage["images"][name] for name in ("training", "validation", "test")) == 100
    assert list(dict.fromkeys(step.stage for step in steps)) == ["decode", "features", "head", "finetune"]
    assert all(step.done == step.total for step in (steps[-1],))
    for phase in ("head", "layers"):
        scores = [each["val_macro_f1"] for each in history if each["phase"] == phase]
        assert logged(folder / "logs" / phase, "val_macro_f1") == pytest.approx(scores)
    described = own.describe(str(folder / "backbone.keras"))
    assert (described.size, described.cut) == (16, "pool")
    assert str(described.normalisation) == "(x - [127.5, 127.5, 127.5]) / [127.5, 127.5, 127.5]"


@pytest.mark.parametrize("epochs", [pytest.param(n, marks=pytest.mark.slow if n != 4 else ()) for n in (1, 3, 4, 5, 6)])
def test_killed_after_any_epoch_it_ends_with_the_same_weights(small_spec, monkeypatch, epochs):
    how = {"dropout": 0.3, "augmentation": {"mixup": 0.3}, "widths": (8,)}
    whole, _ = result(small_spec, name="whole", **how)
    with monkeypatch.context() as patched:
        killed_after(epochs, patched)
        with pytest.raises(KilledError):
            result(small_spec, name="killed", **how)
    again, lineage = result(small_spec, name="killed", **how)
    assert lineage["resumed"] == epochs
    assert (again / "backbone.keras").read_bytes() == (whole / "backbone.keras").read_bytes()
    assert not (again / "checkpoints").exists()


@pytest.mark.slow
def test_batchnorm_statistics_and_frozen_layers_never_change(small_spec):
    job = job_of(small_spec, unfreeze="block2_norm", rate=0.01)
    before = TunedNetwork(job.order, job.tune, job.unfrozen, 10).trunk
    after_job = job_of(small_spec, unfreeze="block2_norm", rate=0.01, name="after")
    finetuned(after_job, silent)
    from trunkline.backbones import own_keras

    after = own_keras.load(after_job.place.path / "backbone.keras", 16)
    for name in ("conv", "norm", "block2_conv"):
        for one, two in zip(before.get_layer(name).get_weights(), after.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
    scale, _, mean, variance = after.get_layer("block2_norm").get_weights()
    old_scale, _, old_mean, old_variance = before.get_layer("block2_norm").get_weights()
    np.testing.assert_array_equal(mean, old_mean)
    np.testing.assert_array_equal(variance, old_variance)
    assert not np.array_equal(scale, old_scale)


@pytest.mark.slow
def test_a_learning_rate_that_diverges_keeps_the_last_good_checkpoint(small_spec):
    with pytest.raises(
        DataError, match=r"Training the last layers diverged in epoch .* rate of 1e\+30: its loss .* is kept \(.*head-"
    ) as caught:
        result(small_spec, name="wild", rate=1e30)
    folder = Location.of(small_spec.store) / "finetuned/wild/checkpoints"
    assert [name.split("-")[0] for name in folder.names()] == ["head"]
    assert "--rate 1e+29" in str(caught.value)
    again, lineage = result(small_spec, name="wild", rate=1e-3)  # the head's phase is not trained again
    assert lineage["resumed"] == 3
    assert (again / "backbone.keras").exists()


@pytest.mark.slow
def test_no_room_for_a_checkpoint_loses_nothing(small_spec, monkeypatch):
    def full(*_: Any) -> None:
        raise StorageError("Writing failed (No space left on device). The disk is full: free some space, …")

    write, count = Checkpoints.write, iter(range(1, 100))
    monkeypatch.setattr(Checkpoints, "write", lambda *given: full() if next(count) == 5 else write(*given))
    with pytest.raises(StorageError, match="The disk is full"):
        result(small_spec, name="full")
    monkeypatch.undo()
    _, lineage = result(small_spec, name="full")
    assert lineage["resumed"] == 4


@pytest.mark.slow
def test_a_phase_stops_when_it_stalls(small_spec, monkeypatch):
    monkeypatch.setattr(training, "_measured", lambda *_: (1.0, 0.5, 0.5))
    _, lineage = result(small_spec, name="stalled", patience=1, epochs=50, head_epochs=50)
    assert lineage["epochs"] == {"head": 2, "layers": 2}
    assert "No epoch with the last layers unfrozen was better" in lineage["notes"][0]
    assert lineage["best"]["phase"] == "head"


@pytest.mark.slow
def test_where_the_head_alone_was_best_the_backbone_is_as_it_was(small_spec, small_network, monkeypatch):
    monkeypatch.setattr(training, "_measured", lambda *_: (1.0, 0.5, 0.5))
    folder, _ = result(small_spec, name="stalled", patience=1)
    from trunkline.backbones import own_keras

    old, new = own_keras.load(small_network, 16), own_keras.load(folder / "backbone.keras", 16)
    for name in ("conv", "norm", "block2_conv", "block2_norm"):
        for one, two in zip(old.get_layer(name).get_weights(), new.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_half_precision_gives_a_network_in_float32(small_spec):
    folder, lineage = result(small_spec, name="half", precision="mixed_float16", epochs=2)
    from trunkline.backbones import own_keras

    assert {layer.dtype_policy.name for layer in own_keras.load(folder / "backbone.keras", 16).layers} == {"float32"}
    assert lineage["epochs"]["layers"] == 2


def test_layers_without_weights_train_nothing(small_spec):
    with pytest.raises(BackboneError, match=r"The layers block2_relu, pool of small.keras have no weights"):
        result(small_spec, unfreeze="2")


@pytest.mark.slow
def test_images_of_which_some_cannot_be_read_and_test_images_seen_in_training(small_spec):
    images = Path(small_spec.source)
    job = job_of(small_spec, name="odd")
    first, test = (job.images.listed[places[0]][0] for places in (job.images.training, job.images.test))
    (images / test).write_bytes((images / first).read_bytes())
    (images / job.images.listed[job.images.training[1]][0]).write_bytes(b"")
    from trunkline.stages.scan import scan

    scan(small_spec)
    lineage = finetuned(job_of(small_spec, name="odd"), silent)
    assert lineage["images"]["unreadable"] == {"empty": 1}
    assert lineage["images"]["left_out"] == 1
    assert lineage["metrics"]["rows"] == lineage["images"]["test"] - 1
    assert lineage["notes"][-2:] == [
        "Left out: 1 image that cannot be read.",
        "Left out of the metrics: 1 test image with the bytes of a training image.",
    ]


def test_the_learning_rate_rises_then_falls():
    rates = [rate_at(step, 10, 50, 1.0) for step in range(50)]
    assert rates[0] == 0.1
    assert max(rates) == rates[9]
    assert rates[-1] < 0.01
    assert rates[9:] == sorted(rates[9:], reverse=True)
