"""Boosted trees: XGBoost's own, the same on Dask workers up to the last bits, and refused where somebody changed a tree."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xgboost

from tests.heads.made import CLASSES, DIGITS, LABELS, PIXELS, TRAINING, VALUE, Memory, data_of
from trunkline.clusters import Cluster
from trunkline.errors import CorruptStore, RunError
from trunkline.fan_out import DaskExecutor, SerialExecutor
from trunkline.heads import boosted_on_workers
from trunkline.heads.boosted import FILE, Boosted, fit_boosted
from trunkline.heads.boosted_on_workers import trained_on_workers
from trunkline.heads.protocol import Work
from trunkline.heads.targets import Target
from trunkline.specs import BoostedSpec, ClusterSpec

SPEC = BoostedSpec(rounds=6, max_depth=3)
HERE = SerialExecutor(threads=1)


@pytest.fixture(scope="module")
def head() -> Boosted:
    return fit_boosted(SPEC, data_of(), Work(HERE))


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskExecutor]:
    with Cluster(ClusterSpec(kind="local", workers=2)) as cluster:
        assert isinstance(cluster.executor, DaskExecutor)
        yield cluster.executor


def test_it_is_xgboosts(head):
    settings = {"objective": "multi:softprob", "num_class": 10, "max_depth": 3, "learning_rate": 0.2, "seed": 0}
    matrix = xgboost.QuantileDMatrix(PIXELS[:TRAINING], DIGITS[:TRAINING])
    theirs = xgboost.train(settings, matrix, 6).predict(xgboost.DMatrix(PIXELS))
    np.testing.assert_allclose(head.outputs(PIXELS), theirs, rtol=0, atol=1e-6)
    assert head.chosen == {"rounds": "6", "learning rate": "0.2", "max depth": "3", "chosen by": "the only one"}


def test_the_number_of_threads_changes_nothing(head):
    assert fit_boosted(SPEC, data_of(), Work(SerialExecutor(threads=2))).files() == head.files()


@pytest.mark.parametrize("target", [CLASSES, LABELS, VALUE])
def test_workers_read_their_own_rows_and_give_the_same_bytes_each_time(dask, target, monkeypatch):
    """In several pieces a worker, of features that are no whole numbers, so that summaries of them differ between workers."""
    monkeypatch.setattr(boosted_on_workers, "PIECE_BYTES", 64 * 64 * 4)
    noisy = PIXELS + np.random.default_rng(0).normal(0, 1, PIXELS.shape).astype(np.float32)
    spec = SPEC.model_copy(update={"class_weight": "balanced"})
    here = fit_boosted(spec, replace(data_of(target), reader=Memory(noisy)), Work(HERE))
    data = replace(data_of(target, executor=dask), reader=Memory(noisy))
    first, second = (fit_boosted(spec, data, Work(dask)) for _ in range(2))
    assert first.files() == second.files()
    scale = 1.0 if target.kind != "regression" else 100.0
    assert np.abs(first.outputs(noisy) - here.outputs(noisy)).mean() < 0.03 * scale  # not the same splits everywhere


def test_fewer_rows_than_workers_go_to_some_of_them(dask):
    data = data_of(rows=np.array([0]), executor=dask)
    assert fit_boosted(SPEC, data, Work(dask)).outputs(PIXELS[:2]).shape == (2, 10)


def test_each_worker_has_memory_of_its_own(dask):
    memory = 400 * 64 * 4  # all rows fit into two of it
    assert fit_boosted(SPEC, data_of(executor=dask), Work(dask, memory=memory)).notes == ()
    (note,) = fit_boosted(SPEC, data_of(), Work(HERE, memory=memory)).notes
    assert note.startswith("The boosted trees were fitted on 40")


class Dying(Memory):
    """Kills the worker that reads it, so many times."""

    def __init__(self, x: np.ndarray, folder: Path, times: int) -> None:
        super().__init__(x)
        self.folder, self.times = folder, times

    def read(self, rows: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        for number in range(self.times):
            with contextlib.suppress(FileExistsError):
                (self.folder / f"death-{number}").touch(exist_ok=False)
                os._exit(1)
        return super().read(rows, columns)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_it_begins_again_where_a_worker_dies(tmp_path, workers, head):
    with Cluster(ClusterSpec(kind="local", workers=workers)) as cluster:
        executor = cluster.executor
        data = replace(data_of(executor=executor), reader=Dying(PIXELS, tmp_path, 1))
        found = fit_boosted(SPEC, data, Work(executor))
    np.testing.assert_allclose(found.outputs(PIXELS), head.outputs(PIXELS), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_workers_that_die_again_and_again_are_said(tmp_path):
    with Cluster(ClusterSpec(kind="local", workers=1)) as cluster:
        executor = cluster.executor
        data = replace(data_of(executor=executor), reader=Dying(PIXELS, tmp_path, 99))
        with pytest.raises(RunError, match=r"Workers were lost 3 times while XGBoost trained on them.* with fewer workers"):
            fit_boosted(SPEC, data, Work(executor))


@pytest.mark.slow
def test_what_xgboost_refuses_is_said(dask):
    data = data_of(executor=dask)
    with pytest.raises(RunError, match=r"XGBoost failed on the Dask workers"):
        trained_on_workers({"objective": "multi:hardly"}, 1, data, data.truth.astype(np.float32), None, dask)


def tampered(head: Boosted, change: Callable[[dict], None]) -> dict[str, bytes]:
    said = json.loads(head.files()[FILE])
    change(said["learner"])
    return {FILE: json.dumps(said).encode()}


def tree_of(learner: dict) -> dict:
    return learner["gradient_booster"]["model"]["trees"][3]


def child_beyond(learner):
    tree_of(learner)["left_children"][0] = 10_000


def child_above(learner):
    tree_of(learner)["right_children"][1] = 0


def unknown_feature(learner):
    tree_of(learner)["split_indices"][0] = 64


def negative_feature(learner):
    tree_of(learner)["split_indices"][0] = -1


def missing_nodes(learner):
    tree_of(learner)["left_children"].pop()


def more_nodes(learner):
    tree_of(learner)["tree_param"]["num_nodes"] = "1000000"


def leaf_vectors(learner):
    tree_of(learner)["tree_param"]["size_leaf_vector"] = "1000000"


def categorical(learner):
    tree_of(learner)["split_type"][0] = 1


def categories(learner):
    tree_of(learner)["categories"] = [1, 2]


def no_root(learner):
    tree_of(learner)["parents"][0] = 1


def no_number(learner):
    tree_of(learner)["split_conditions"][0] = float("nan")


@pytest.mark.parametrize(
    "change",
    [
        child_beyond,
        child_above,
        unknown_feature,
        negative_feature,
        missing_nodes,
        more_nodes,
        leaf_vectors,
        categorical,
        categories,
        no_root,
        no_number,
    ],
)
def test_a_tree_that_was_tampered_with_is_refused(head, change):
    """XGBoost follows whatever numbers stand there."""
    with pytest.raises(CorruptStore, match=r"tree 3 points outside itself\)\. Do not trust this file"):
        Boosted.load(tampered(head, change), CLASSES)


def other_objective(learner):
    learner["objective"]["name"] = "reg:gamma"


def linear(learner):
    learner["gradient_booster"]["name"] = "gblinear"


def more_trees(learner):
    learner["gradient_booster"]["model"]["gbtree_model_param"]["num_trees"] = "7"


def tree_for_nobody(learner):
    learner["gradient_booster"]["model"]["tree_info"][0] = 10


def odd_rounds(learner):
    learner["gradient_booster"]["model"]["iteration_indptr"][1] = 1_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_objective, "'reg:gamma' with 10 outputs, where 'multi:softprob' with 10 is due"),
        (linear, "a booster of the kind 'gblinear'"),
        (more_trees, "60 trees where others are announced"),
        (tree_for_nobody, "a tree for an output that there is not"),
        (odd_rounds, "rounds that do not add up to the trees"),
    ],
)
def test_another_model_is_refused(head, change, words):
    with pytest.raises(CorruptStore, match=words):
        Boosted.load(tampered(head, change), CLASSES)
    with pytest.raises(CorruptStore, match="'multi:softprob' with 10 outputs, where 'binary:logistic' with 2 is due"):
        Boosted.load(head.files(), Target("multilabel", ("a", "b")))
