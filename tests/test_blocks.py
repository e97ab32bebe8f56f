"""Digests of rows and of features: literal, and moved by everything they cover and by nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from trunkline.blocks import Status, feature_digest, rows_digest

ROWS = {"row": [0, 1], "id": ["a.jpg", "é\n.png"], "version": ["1-2", "3-4"]}


def test_digests_in_commit_records_never_change():
    assert rows_digest(pa.table(ROWS)) == "5b95f809f8df55e4d01a1b13a10c935927b6f98b3faf72f417821517f7d41434"
    assert feature_digest([np.arange(3, dtype=np.float32), np.zeros(2, np.float32)]) == "7c862e2733ee530a"


@pytest.mark.parametrize(
    "change",
    [
        {"row": [0, 2]},
        {"id": ["a.jpg", "b.jpg"]},
        {"version": ["1-2", "3-5"]},
        {"id": ["é\n.png", "a.jpg"]},
        {"id": ["a.jpg1", "é\n.png"], "version": ["-2", "3-4"]},
        {"row": [0], "id": ["a.jpg"], "version": ["1-2"]},
    ],
)
def test_row_id_and_version_enter(change):
    assert rows_digest(pa.table(ROWS | change)) != rows_digest(pa.table(ROWS))


def test_nothing_else_enters():
    more = ROWS | {"removed": [True, False], "label": ["apple", None], "size": [1, 2]}
    assert rows_digest(pa.table(more)) == rows_digest(pa.table(ROWS))


def test_a_feature_digest_sees_every_bit_and_every_layer():
    values = np.arange(3, dtype=np.float32)
    others = [
        [values + np.float32(1e-7)],
        [values, values],
        [values[::-1].copy()],
        [-values],
        [values[:2]],
    ]
    digests = {feature_digest(rows) for rows in [[values], *others]}
    assert len(digests) == 6
    assert feature_digest([values.copy()]) in digests


def test_the_words_of_the_statuses_stand_in_stores():
    assert [str(status) for status in Status] == ["ok", "quarantined", "pending", "void"]
