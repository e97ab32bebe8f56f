"""Fine-tuning as a deployment on a whole stack, its store on s3://: it outlives its process, and the pipeline takes the result."""

from __future__ import annotations

import json

import pytest

from tests.operations.conftest import Deployed, Place
from tests.operations.server import until
from trunkline.clusters import Cluster
from trunkline.maintenance.verify import verify
from trunkline.specs import ClusterSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TUNE = {"name": "digits", "head_epochs": 2, "epochs": 40, "patience": 40, "unfreeze": "0.2", "augmentation": {"flip": False}}


def test_killed_while_it_trains_and_started_again(in_stack: Deployed, place: Place) -> None:
    server, stack = in_stack.server, in_stack.stack
    asked = {"spec": place.spec | {"preparation": {"size": 32}}, "tune": TUNE, "then": "pipeline"}
    run = server.start("finetune", **asked)
    checkpoints = place.store / "finetuned/digits/checkpoints"
    until(checkpoints.names, lambda found: any(name.startswith("layers-") for name in found), "a checkpoint of the last layers")
    stack.kill("prefect-worker")
    stack.up()
    again = server.completed(server.start("finetune", **asked))
    assert server.artifacts(again["id"])["finetune-progress"]["data"] == 100.0
    lineage = json.loads((place.store / "finetuned/digits/lineage.json").read())
    assert lineage["epochs"]["layers"] == 40
    assert lineage["resumed"] >= 1
    assert place.features().recipe.weights == lineage["sha256"]
    assert len(place.features().rows()) == 300
    assert verify(place.store.uri, Cluster(ClusterSpec(kind="inline"))).findings == ()
    dead = server.wait(run, "CRASHED")
    assert "Nothing was heard of this run's process" in dead["state"]["message"]
