"""The command to copy, and what was left out, in words."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import typer

from tests.probing.test_ranking import PLAIN
from tests.report.test_choice import better, hostile
from trunkline.cli.app import app
from trunkline.probing.choice import command_for
from trunkline.specs import RunSpec

USE = replace(PLAIN, entry="efficientnet-lite0", backbone="efficientnet-lite0", layer="block10_add")


def spec(**said: object) -> RunSpec:
    return RunSpec.model_validate({"source": "my photos/", "store": "features/"} | said)


def test_the_default_cut_needs_no_layer():
    command = command_for(spec(), replace(USE, is_default=True), own_size=224)
    assert command == "trunkline run --source 'my photos/' --store features/ --backbone efficientnet-lite0"


def test_what_differs_from_a_plain_run_is_said():
    asked = spec(
        source_kind="table",
        columns={"uri": "path", "label": "species"},
        weights="mine.h5",
        preparation={"fit": "pad", "kernel": "bicubic", "antialias": True},
    )
    command = command_for(asked, replace(USE, size=160, pooling="gem"), own_size=224)
    assert command.endswith(
        "--source-kind table --weights mine.h5 --uri-column path --label-column species --backbone efficientnet-lite0 "
        "--layer block10_add --size 160 --pooling gem --fit pad --kernel bicubic --antialias"
    )


def test_every_option_of_it_is_one_of_run():
    asked = spec(
        source_kind="bytes",
        labels="none",
        runtime="openvino",
        columns={"id": "i", "image": "x", "label": "y", "split": "z"},
        preparation={"preset": "keras"},
    )
    words = shlex.split(command_for(asked, replace(USE, pooling="max", size=64), own_size=224))
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    known = {name for parameter in run.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_left_out_images_and_classes_are_said():
    assert better().notes == [
        "Left out of the sample: 3 truncated.",
        "Left out, with fewer than two readable training images each: zebra.",
    ]
    many = replace(better(), left_out={"missing": 2, "truncated": 9}, too_few=[f"c{number}" for number in range(8)])
    assert many.notes == [
        "Left out of the sample: 9 truncated, 2 missing.",
        "Left out, with fewer than two readable training images each: c0, c1, c2, c3, c4 and 3 more.",
    ]
    assert replace(many, left_out={}, too_few=[]).notes == []


def test_the_summary_is_json_with_the_recommendation_first():
    said = json.loads(json.dumps(better().summary()))
    assert next(iter(said)) == "recommendation"
    assert said["use"]["layer"] == better().use.layer
    assert {"entry", "layer"} == said["front"][0].keys()
    assert len(said["cuts"]) == len(better().cuts)
    text = json.dumps(hostile().summary(), allow_nan=False)  # a score that is none is null
    assert {cut["logme"] is None for cut in json.loads(text)["cuts"]} == {True, False}
