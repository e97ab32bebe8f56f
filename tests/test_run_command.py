"""The command to copy: what is not the default, quoted for a shell, in options that `run` knows."""

from __future__ import annotations

import shlex
from types import SimpleNamespace

from trunkline.specs import RunSpec, run_command
from trunkline.stages.finetune import with_the_result


def spec(**said: object) -> RunSpec:
    return RunSpec.model_validate({"source": "my photos/", "store": "features/", "backbone": "resnet50"} | said)


def test_a_plain_run_says_no_more_than_it_must() -> None:
    assert run_command(spec()) == "trunkline run --source 'my photos/' --store features/ --backbone resnet50"


def test_every_layer_and_a_size_of_its_own_are_said() -> None:
    asked = spec(layers=["conv4_block6_out", "avg_pool"], preparation={"size": 160}, dataset="photos")
    assert shlex.split(run_command(asked, own_size=224))[6:] == (
        ["--dataset", "photos", "--backbone", "resnet50", "--layer", "conv4_block6_out", "--layer", "avg_pool", "--size", "160"]
    )
    assert "--size" not in run_command(asked, own_size=160)


def test_after_fine_tuning_weights_layers_and_size_are_those_of_the_file() -> None:
    asked = spec(weights="resnet50.h5", layers=["avg_pool"], labels="none", preparation={"size": 128, "fit": "pad"})
    receipt = SimpleNamespace(backbone="my store/backbone.keras")
    assert shlex.split(run_command(with_the_result(asked, receipt))) == [  # type: ignore[arg-type]
        *("trunkline", "run", "--source", "my photos/", "--store", "features/", "--labels", "none"),
        *("--backbone", "my store/backbone.keras", "--fit", "pad"),
    ]
