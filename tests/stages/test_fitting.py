"""Heads on a cluster, grids that go on after a kill, and curves that are measured once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkline.clusters import Cluster
from trunkline.fan_out import SerialExecutor
from trunkline.heads import artifact
from trunkline.heads.protocol import Scores
from trunkline.locations import Location
from trunkline.specs import ClusterSpec, ForestSpec, RidgeSpec, RunSpec, SoftmaxSpec
from trunkline.stages import curves as curving
from trunkline.stages import fitting
from trunkline.stages.fit import fit
from trunkline.stages.fitting import StoredScores

GRID = ForestSpec(trees=(3, 6), max_depth=(2, None), folds=2)


class KilledError(Exception):
    pass


def test_scores_are_kept_until_the_head_is_there(finished: RunSpec, monkeypatch: pytest.MonkeyPatch):
    spec = finished.model_copy(update={"heads": (GRID,)})
    puts: list[str] = []
    keep = StoredScores.put

    def put(self: StoredScores, key: str, scores: Scores) -> None:
        if len(puts) == 5:
            raise KilledError
        puts.append(key)
        keep(self, key, scores)

    with monkeypatch.context() as patched:
        patched.setattr(StoredScores, "put", put)
        with pytest.raises(KilledError):
            fit(spec)
    kept = list(Path(spec.store).glob("heads/*/*/forest-*/scores/*.json"))
    assert len(kept) == 5
    assert fit(spec, only_stored=True).heads == []

    counted: list[str] = []
    monkeypatch.setattr(StoredScores, "put", lambda self, key, scores: counted.append(key) or keep(self, key, scores))
    (head,) = fit(spec).heads
    assert len(counted) == 3
    assert not set(counted) & set(puts)
    assert not list(Path(spec.store).glob("heads/*/*/forest-*/scores/*.json"))
    assert len(head.candidates) == 4
    assert [each.chosen for each in head.candidates].count(True) == 1
    assert artifact.load(head.location) is not None


def test_damaged_scores_are_made_anew(tmp_path: Path):
    scores = StoredScores(Location.of(tmp_path))
    scores.put("a", Scores(0.5, 0.25, 2.0))
    assert scores.get("a") == Scores(0.5, 0.25, 2.0)
    for content in (b"", b"[]", b'{"score": 1}', b'{"novelty": 1, "score": 1, "loss": 2}'):
        (tmp_path / "a.json").write_bytes(content)
        assert scores.get("a") is None
    assert scores.get("never") is None


def test_small_data_starts_no_worker_and_a_grid_of_trees_does(finished: RunSpec):
    with Cluster(ClusterSpec(kind="local", workers=1)) as cluster:
        small = finished.model_copy(update={"heads": (SoftmaxSpec(C=(0.002, 0.02)), RidgeSpec(), ForestSpec(trees=2))})
        fit(small, cluster=cluster)
        assert cluster._executor is None
        alone = fit(finished.model_copy(update={"heads": (GRID,), "seed": 1})).heads[0]
        (alone.location / "head.json").remove()
        shared = fit(finished.model_copy(update={"heads": (GRID,), "seed": 1}), cluster=cluster).heads[0]
        assert cluster._executor is not None
    assert shared.candidates == alone.candidates
    assert shared.metrics.to_json() == alone.metrics.to_json()


def test_large_data_goes_to_the_workers(finished: RunSpec, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fitting, "IN_THIS_PROCESS", 1)
    heads = (SoftmaxSpec(C=(0.003, 0.03)), RidgeSpec(alpha=7.0))
    with Cluster(ClusterSpec(kind="local", workers=2)) as cluster:
        shared = fit(finished.model_copy(update={"heads": heads}), cluster=cluster).heads
    for head in shared:
        (head.location / "head.json").remove()
    alone = fit(finished.model_copy(update={"heads": heads})).heads
    for one, other in zip(shared, alone, strict=True):
        assert one.chosen == other.chosen
        assert one.metrics.confusion.tolist() == other.metrics.confusion.tolist()
        assert one.metrics.log_loss == pytest.approx(other.metrics.log_loss, rel=1e-6)


def test_a_head_says_what_it_came_from(finished: RunSpec):
    (head,) = fit(finished).heads
    said = json.loads((head.location / "head.json").read())
    assert said["origin"]["recipe"] == head.location.uri.split("/")[-2]
    assert said["origin"]["layer"] == "avg_pool"
    assert (Path(finished.store) / said["origin"]["mask"]).exists()
    assert said["origin"]["spec"]["C"] == [0.001]
    assert list(said["sha256"]) == ["linear.safetensors"]


def test_curves_are_measured_once(finished: RunSpec, monkeypatch: pytest.MonkeyPatch):
    (place,) = Path(finished.store).glob("features/*/*/curves.json")
    place.unlink()
    measured = fit(finished).curves
    assert measured.filter
    assert measured.learning

    def never(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(curving, "filter_curve", never)
    assert fit(finished).curves == measured
    place.write_bytes(b"{")
    assert fit(finished, only_stored=True).curves == curving.Curves()


def test_the_serial_loop_holds_items_as_they_are():
    executor, called = SerialExecutor(), []
    assert executor.hold([1, 2]) == [1, 2]
    executor.everywhere(lambda: called.append(1))
    assert called == [1]
