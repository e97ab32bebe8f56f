"""A backfill against a whole stack, on s3://: cancelled half way, started again, and once more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operations.conftest import Deployed, Place
from tests.operations.server import Server, until
from trunkline.clusters import Cluster
from trunkline.maintenance.verify import verify
from trunkline.reader import open_features
from trunkline.specs import ClusterSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGES = 1797


def test_cancelled_half_way_and_started_again(in_stack: Deployed, many: Place) -> None:
    server = in_stack.server
    server.completed(server.start("pipeline", spec=many.spec))
    spec: dict[str, Any] = {
        "store": many.store.uri,
        "recipes": [{"backbone": "efficientnet-lite0", "pooling": "max"}, {"backbone": "efficientnet-lite0", "pooling": "gem"}],
        "slice_images": 1024,
    }
    first = server.start("backfill", spec=spec)
    until(lambda: _completed(slices(server, first)), lambda done: len(done) == 1, "the end of the first slice")
    server.cancel(first)
    server.wait(first, "CANCELLED")
    until(
        lambda: slices(server, first),
        lambda runs: all(run["state_type"] in ("COMPLETED", "CANCELLED") for run in runs),
        "the end of its slices",
    )
    half = {recipe: rows(many, recipe) for recipe in fresh(many)}
    assert all(1024 <= count < IMAGES for count in half.values()), half

    again = server.completed(server.start("backfill", spec=spec))
    assert {rows(many, recipe) for recipe in fresh(many)} == {IMAGES}
    assert len(slices(server, again["id"])) == 1, "the first slice was not done again"
    assert "worker hours" in " ".join(str(each["data"]) for each in server.artifacts(again["id"]).values()).lower()
    assert verify(many.store.uri, Cluster(ClusterSpec(kind="inline"))).findings == ()

    idle = server.completed(server.start("backfill", spec=spec))
    assert "nothing to do" in idle["name"]
    assert slices(server, idle["id"]) == []


def slices(server: Server, run: str) -> list[dict[str, Any]]:
    """The runs of a backfill's slices."""
    return server.runs(flow_runs={"parent_flow_run_id": {"any_": [run]}})


def _completed(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if run["state_type"] == "COMPLETED"]


def fresh(place: Place) -> list[str]:
    """Digests of the recipes that the backfill made: those without average pooling."""
    names = (place.store / "features/digits").names()
    return [name for name in names if open_features(f"{place.store}/features/digits/{name}").recipe.pooling != "avg"]


def rows(place: Place, recipe: str) -> int:
    return len(open_features(f"{place.store}/features/digits/{recipe}").rows())
