"""Duplicates from correlations that are built out of core: NumPy's, the same on every executor, and refused where they would not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.reading.made import Made, ids
from trunkline import gram
from trunkline.clusters import Cluster
from trunkline.errors import DataError
from trunkline.fan_out import Executor, SerialExecutor
from trunkline.gram import GramJob
from trunkline.moments import Moments
from trunkline.specs import ClusterSpec

DIM = 12
ROWS = 700
ALL = np.arange(ROWS)


@dataclass(frozen=True)
class Alike(Made):
    """Features of which 3 is 1 upside down, 4 and 8 are nearly 0, 7 is 2 of another size; the others stand alone."""

    def values(self, rows: np.ndarray, layer: str = "pool") -> np.ndarray:  # noqa: ARG002
        x = np.stack([np.random.default_rng(int(row)).standard_normal(DIM) for row in rows])
        x[:, 3] = 7 - 2 * x[:, 1]
        x[:, 4] = x[:, 0] + 0.1 * x[:, 4]
        x[:, 8] = x[:, 0] + 0.1 * x[:, 8]
        x[:, 7] = 1e3 * x[:, 2] + 1e3
        return x.astype(self.dtype)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Alike:
    alike = Alike(tmp_path_factory.mktemp("alike") / "store", {"pool": DIM})
    alike.scan(ids("plum", ROWS))
    alike.extract()
    return alike


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with Cluster(ClusterSpec(kind="local", workers=2)) as cluster:
        yield cluster.executor


def job_over(made: Made, columns: np.ndarray, rows: np.ndarray = ALL) -> GramJob:
    x = Moments.of(made.values(rows))
    stored = made.feature_set
    return GramJob(stored.location, stored.layout, "pool", columns, x.mean[columns], np.sqrt(x.variance[columns]))


def found(made: Made, executor: Executor, columns: np.ndarray | None = None, rows: np.ndarray = ALL) -> np.ndarray:
    chosen = np.ones(DIM, bool) if columns is None else columns
    return gram.correlations(job_over(made, chosen, rows), rows, executor, lambda _: None)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_they_are_numpys(tmp_path: Path, dtype: str):
    made = Alike(tmp_path / "store", {"pool": DIM}, dtype=dtype)
    made.scan(ids("plum", 200))
    made.extract()
    rows = np.flatnonzero(np.arange(200) % 3 != 2)
    columns = np.arange(DIM) != 5
    x = made.values(rows).astype(np.float64)[:, columns]
    mine = found(made, SerialExecutor(), columns, rows)
    np.testing.assert_allclose(mine, np.corrcoef(x.T), atol=3e-6)
    assert np.diagonal(mine).tolist() == [1.0] * (DIM - 1)


def test_workers_and_the_serial_loop_give_the_same_bits(made, workers, monkeypatch):
    monkeypatch.setattr(gram, "GROUP_ROWS", 48)
    done: list[int] = []
    here = gram.correlations(job_over(made, np.ones(DIM, bool)), ALL, SerialExecutor(), done.append)
    assert done == [*range(48, ROWS, 48), ROWS]
    np.testing.assert_array_equal(here, found(made, workers))


def test_sums_are_the_same_in_any_order(made, monkeypatch):
    class Backwards(SerialExecutor):
        def map(self, function, job, items):
            return iter([function(job, item) for item in items][::-1])

    monkeypatch.setattr(gram, "GROUP_ROWS", 48)
    np.testing.assert_array_equal(found(made, SerialExecutor()), found(made, Backwards()))


def test_how_the_rows_are_grouped_changes_no_duplicate(made, monkeypatch):
    whole = found(made, SerialExecutor())
    monkeypatch.setattr(gram, "GROUP_ROWS", 100)
    monkeypatch.setattr(gram, "BLOCK_BYTES", 1)
    parts = found(made, SerialExecutor())
    np.testing.assert_allclose(parts, whole, atol=2e-6)
    every = np.ones(DIM, bool)
    np.testing.assert_array_equal(gram.duplicates(whole, every, 0.99), gram.duplicates(parts, every, 0.99))


def test_what_is_like_an_earlier_one_is_its_duplicate(made):
    every = np.ones(DIM, bool)
    correlations = found(made, SerialExecutor())
    assert gram.duplicates(correlations, every, 1.0).tolist() == [-1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, -1]
    assert gram.duplicates(correlations, every, 0.99).tolist() == [-1, -1, -1, 1, 0, -1, -1, 2, 0, -1, -1, -1]


def test_numbers_are_those_of_the_layer_where_some_features_are_out_already(made):
    columns = ~np.isin(np.arange(DIM), [0, 2])
    twice = gram.duplicates(found(made, SerialExecutor(), columns), columns, 0.97)
    assert twice.tolist() == [-1, -1, -1, 1, -1, -1, -1, -1, 4, -1, -1, -1]


def test_a_feature_that_went_takes_no_other_with_it():
    """1 goes with 0; 2 is like 1 but not like 0, and stays."""
    correlations = np.array([[1.0, 0.9, 0.5], [0.9, 1.0, 0.9], [0.5, 0.9, 1.0]])
    assert gram.duplicates(correlations, np.ones(3, bool), 0.9).tolist() == [-1, 0, -1]


def test_a_matrix_that_would_not_fit_is_refused():
    gram.refuse_too_wide("pool", 8192)
    with pytest.raises(
        DataError, match=r"pool has 8,193 of them: more than 8,192, whose matrix takes 512 MiB\. Leave select\.dup"
    ):
        gram.refuse_too_wide("pool", 8193)


def test_a_group_says_which_rows_are_lost():
    assert str(gram.groups_of(ALL)[0]) == "the correlations of rows 0 to 699"
