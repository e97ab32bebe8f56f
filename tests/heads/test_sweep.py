"""Sweeps: which candidate is chosen, of equal ones too; what is kept; what a worker holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.heads.made import CLASSES, LABELS, PIXELS, VALUE, Memory, data_of
from trunkline.clusters import Cluster
from trunkline.fan_out import SerialExecutor
from trunkline.heads import sweep
from trunkline.heads.held_out import WORST, WORST_OF_VALUES, losses_of, scores_of
from trunkline.heads.protocol import Forgetful, Scores, Work
from trunkline.heads.readers import InMemory
from trunkline.heads.sampling import row_weights
from trunkline.heads.sweep import best_at_once, best_of, key_of
from trunkline.heads.training import TrainingData
from trunkline.specs import ClusterSpec, ForestSpec, MlpSpec, NeighboursSpec, TreeSpec

HERE = SerialExecutor(threads=1)


@dataclass(frozen=True)
class Constant:
    """Gives the same for every row."""

    outputs_of_a_row: tuple[float, ...]

    def outputs(self, features: np.ndarray) -> np.ndarray:
        return np.tile(np.array(self.outputs_of_a_row), (len(features), 1))


def constant(spec: TreeSpec, data: TrainingData, work: Work) -> Constant:
    """The deeper, the surer of class 3; from depth 4 on always the same."""
    assert isinstance(work.executor, SerialExecutor)
    assert isinstance(data.reader, InMemory)
    share = 0.1 + 0.1 * min(spec.max_depth[0] or 9, 4)
    out = np.full(10, (1 - share) / 9)
    out[3] = share
    return Constant(tuple(out.tolist()))


def scored(candidates: Sequence[NeighboursSpec], data: TrainingData, fold: int, work: Work) -> list[Scores]:
    """By k alone; k of 9 wins, as does 5."""
    assert (data.folds == fold).any()
    assert work.memory > 0
    return [Scores({1: 0.1, 5: 0.9, 9: 0.9}[each.k[0]] + fold / 100, 1.0) for each in candidates]


def test_of_equal_scores_the_lower_loss_wins_and_then_the_first():
    """Every candidate predicts class 3; which is right in a tenth of the rows, so being surer costs."""
    found = best_of(TreeSpec(max_depth=[4, 2, 1, 3]), data_of(), Work(HERE), constant)
    assert len({each.score for each in found.candidates}) == 1
    assert found.chosen["max depth"] == "1"
    found = best_of(TreeSpec(max_depth=[6, 5, 4]), data_of(), Work(HERE), constant)
    assert [each.chosen for each in found.candidates] == [True, False, False]
    assert found.spec.max_depth == (6,)


def test_the_highest_mean_score_wins():
    found = best_at_once(NeighboursSpec(k=[1, 9, 5]), data_of(), Work(HERE), scored)
    assert found.chosen == {"k": "9", "chosen by": "3-fold cross-validation"}
    assert [round(each.score, 6) for each in found.candidates] == [0.11, 0.91, 0.91]
    assert found.candidates[0].spread == pytest.approx(np.std([0, 0.01, 0.02]))


def test_a_single_candidate_is_taken_as_it_is():
    log = Forgetful()
    found = best_of(TreeSpec(max_depth=7), data_of(), Work(HERE, log=log), constant)
    assert found.chosen == {"max depth": "7", "min samples leaf": "1", "chosen by": "the only one"}
    assert (found.candidates, found.notes, log.scores) == ((), (), {})


def test_where_there_is_nothing_to_cross_validate_the_middle_one_is_taken():
    rows = np.arange(10)  # one image a class
    found = best_of(TreeSpec(max_depth=[1, 2, 3], min_samples_leaf=[1, 2]), data_of(rows=rows), Work(HERE), constant)
    assert (found.spec.max_depth, found.spec.min_samples_leaf) == ((2,), (2,))
    assert found.chosen["chosen by"].startswith("the middle one")


def test_settings_are_said_in_words():
    spec = MlpSpec(widths=[[32, 8], []], dropout=0.25, learning_rate=0.001)
    words = [sweep._settings(each, each.SWEPT) for each in spec.candidates()]
    assert words == [
        {"widths": "32-8", "dropout": "0.25", "learning rate": "0.001"},
        {"widths": "none", "dropout": "0.25", "learning rate": "0.001"},
    ]
    assert sweep._settings(TreeSpec(), ("max_depth",)) == {"max depth": "unlimited"}


def test_keys_name_kind_candidate_and_fold():
    keys = {key_of(each, fold) for each in (TreeSpec(), ForestSpec(), TreeSpec(max_depth=3)) for fold in (0, 1)}
    assert len(keys) == 6
    assert key_of(TreeSpec(), 1).startswith("tree-")


def test_what_is_kept_is_not_fitted_again_even_where_all_is():
    log = Forgetful()
    first = best_of(TreeSpec(max_depth=[1, 2]), data_of(), Work(HERE, log=log), constant)
    second = best_of(TreeSpec(max_depth=[1, 2]), data_of(), Work(HERE, log=log), _never)
    assert second == first


def _never(*_: object) -> Constant:
    raise AssertionError("it was fitted again")


class Counting(Memory):
    """Counts rows that were read."""

    read_rows = 0

    def read(self, rows, columns=None):
        type(self).read_rows += len(rows)
        return super().read(rows, columns)


def test_a_process_reads_the_rows_once_and_lets_go_of_them_in_the_end():
    Counting.read_rows = 0
    best_of(TreeSpec(max_depth=[1, 2, 3]), replace(data_of(), reader=Counting(PIXELS)), Work(HERE), constant)
    assert Counting.read_rows == 600
    assert sweep._kept == {}


def test_an_error_on_a_worker_ends_the_sweep():
    with Cluster(ClusterSpec(kind="local", workers=1)) as cluster:
        executor = cluster.executor
        with pytest.raises(AssertionError, match="it was fitted again"):
            best_of(TreeSpec(max_depth=[1, 2]), data_of(executor=executor), Work(executor), _never)


def test_rows_held_in_memory_read_as_those_of_a_store():
    held = InMemory(PIXELS, "here")
    kept = np.arange(64) % 2 == 0
    np.testing.assert_array_equal(held.read(np.array([3, 5]), kept), PIXELS[[3, 5]][:, kept])
    assert held.cut(np.arange(5), 2 * 64 * 4) == [(0, 2), (2, 4), (4, 5)]


def test_outputs_that_are_no_numbers_score_worst():
    truth = np.array([0, 1])
    assert scores_of(CLASSES, truth, np.full((2, 10), np.nan)) == WORST
    assert scores_of(VALUE, truth, np.array([[np.inf], [0.0]])) == WORST_OF_VALUES
    assert (
        scores_of(VALUE, np.array([5.0, 5.0]), np.array([[5.0], [5.0]])).score == 0
    )  # of values that do not differ there is no R²


def test_losses_are_those_of_their_kind():
    np.testing.assert_allclose(losses_of(CLASSES, np.array([1]), np.full((1, 10), 0.1)), np.log(10))
    labels = losses_of(LABELS, np.array([[1, 0, 0]]), np.array([[0.5, 0.5, 0.25]]))
    np.testing.assert_allclose(labels, (2 * np.log(2) - np.log(0.75)) / 3)
    np.testing.assert_allclose(losses_of(VALUE, np.array([2.0]), np.array([[5.0]])), 9)


def test_weights_of_rows_balance_classes_and_labels():
    assert row_weights(CLASSES, np.array([0, 1]), "none") is None
    assert row_weights(VALUE, np.array([1.0]), "balanced") is None
    np.testing.assert_allclose(row_weights(CLASSES, np.array([0, 0, 0, 1]), "balanced"), [2 / 3, 2 / 3, 2 / 3, 2])
    labels = row_weights(LABELS, np.array([[1, 0, 1], [0, 0, 1]], np.float32), "balanced")
    assert labels.shape == (2,)
