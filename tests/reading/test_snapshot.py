"""Snapshots: the same while a writer goes on; the dataset as of a batch; what the index says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.manifests import say
from tests.reading.conftest import BAD
from tests.reading.made import Made, ids
from trunkline import open_features
from trunkline.errors import CorruptStore, DataError
from trunkline.reading.snapshot import OK, PENDING, QUARANTINED, REMOVED, VOID
from trunkline.store import hdf5


def statuses(made: Made, batch: int | None = None) -> dict[str, int]:
    counted = open_features(made.place, batch).index()["status"].value_counts().to_pylist()
    return {each["values"]: each["counts"] for each in counted}


def test_statuses_by_row_number(fruit: Made):
    codes = open_features(fruit.place).snapshot.statuses()
    assert (codes.dtype, len(codes)) == (np.uint8, 2058)
    assert codes[[0, 3, 5, 149, 150, 1023, 1024, 1054, 2048]].tolist() == [
        OK,
        QUARANTINED,
        REMOVED,
        OK,
        VOID,
        VOID,
        OK,
        VOID,
        PENDING,
    ]


def test_as_of_a_batch(fruit: Made):
    assert statuses(fruit) == {"ok": 177, "quarantined": 2, "removed": 1, "pending": 10}
    assert statuses(fruit, 2) == statuses(fruit)
    assert statuses(fruit, 1) == {"ok": 177, "quarantined": 2, "removed": 1}
    assert statuses(fruit, 0) == {"ok": 148, "quarantined": 2}
    first = open_features(fruit.place, batch=0)
    rows = np.array([row for row in range(150) if row not in BAD])
    x, y = first.numpy()
    np.testing.assert_array_equal(x, fruit.values(rows))
    assert y.tolist() == ["apple"] * 98 + ["pear"] * 50
    assert 5 in first.rows(), "removed later, so it was there"
    assert first.classes == ("apple", "pear")
    assert [shard.start for shard in first.shards()] == [0, 64, 128]
    assert [commit.shard.start for commit in first.commits()] == [0, 64, 128]
    assert "3 shards, as of batch 0" in repr(first)


def test_an_image_that_was_removed_before_it_was_read_is_void_before_that(writable: Made):
    start = writable.scan(ids("plum", 2, first=100))
    writable.scan([], removed=[start])
    writable.extract()
    assert statuses(writable) == {"ok": 101, "removed": 1}
    assert statuses(writable, 1) == {"ok": 101, "void": 1}


@pytest.mark.parametrize("batch", [3, -1])
def test_a_wrong_batch(fruit: Made, batch: int):
    with pytest.raises(DataError, match=rf"There is no batch {batch} of fruit: its manifest has batches 0 to 2"):
        open_features(fruit.place, batch)


def test_a_batch_of_an_empty_manifest(tmp_path: Path):
    made = Made(tmp_path / "store")
    made.dataset  # noqa: B018
    with pytest.raises(DataError, match=r"There is no batch 0 of fruit: its manifest has no batch yet"):
        open_features(made.uri, 0)
    empty = open_features(made.uri)
    assert empty.numpy()[0].shape == (0, 6)
    assert empty.index().num_rows == 0
    assert empty.dask().shape == (0, 6)
    assert list(empty.batches(5)) == []


@pytest.mark.parametrize("format_", ["zarr", "hdf5"])
def test_a_snapshot_stays_the_same_while_a_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str):
    """Commits, a batch with additions and removals, labels, splits and (HDF5) merged parts come between two reads."""
    monkeypatch.setattr(hdf5, "MAX_FILES", 4)
    made = Made(tmp_path / "store", format=format_)
    made.scan(ids("plum", 400))
    made.extract(3)
    features, untouched = open_features(made.place), open_features(made.place)
    x, y = features.numpy()
    index, shape = features.index(), x.shape
    assert shape == (192, 6)
    before = sorted((Path(made.uri) / "parts").glob("*"))
    made.extract(2)
    made.scan(ids("fig", 70), removed=[0, 1])
    made.extract()
    say(made.dataset.labels, dict([(2, "damson")]))
    say(made.dataset.splits, dict([(3, "val")]))
    made.feature_set.arrays.seal(open_features(made.uri).shards())
    if format_ == "hdf5":
        assert not any(part.exists() for part in before), "merging has replaced what was read"
    for snapshot in (features, untouched):
        again, labels = snapshot.numpy()
        np.testing.assert_array_equal(again, x)
        assert labels.tolist() == y.tolist()
        assert snapshot.index().equals(index)
        assert snapshot.classes == ("plum",)
        np.testing.assert_array_equal(snapshot.dask().compute(scheduler="sync"), x)
    fresh = features.refresh()
    assert len(fresh.rows()) == 400 - 2 + 70
    assert fresh.classes == ("damson", "fig", "plum")
    assert fresh.rows(split="val").tolist() == [3]


def test_a_writer_between_every_two_batches(writable: Made):
    writable.scan(ids("fig", 500))
    writable.extract(2)
    features = open_features(writable.place)
    rows, seen = features.rows(), []
    for numbers, x, _ in features.batches(40):
        writable.extract(1)
        np.testing.assert_array_equal(x, writable.values(numbers))
        seen += numbers.tolist()
    assert seen == rows.tolist()
    assert len(features.refresh().rows()) == 600


def test_labels_are_those_of_the_latest_version(writable: Made):
    say(writable.dataset.labels, dict([(0, "cherry"), (1, "plum")]))
    say(writable.dataset.labels, dict([(0, "damson")]))
    features = open_features(writable.place)
    assert features.classes == ("damson", "plum"), "names that no row has any more are gone"
    assert features.numpy(rows=[0, 1, 2])[1].tolist() == ["damson", "plum", "plum"]


def test_rows_without_a_label(writable: Made):
    writable.scan(["one.jpg", "two.jpg"])
    writable.extract()
    features = open_features(writable.place)
    assert features.numpy(batch=1)[1].tolist() == [None, None]
    assert features.index()["label"].to_pylist()[-3:] == ["plum", None, None]


def test_the_index_of_some_rows_and_columns(fruit: Made):
    snapshot = open_features(fruit.place).snapshot
    rows = np.array([3, 5, 127, 149, 1024, 2048])
    assert snapshot.table(rows, ["sha256", "reason", "row", "split", "detail"]).to_pylist() == [
        {"row": 3, "split": "train", "reason": "truncated", "detail": "ends early", "sha256": ""},
        {"row": 5, "split": "test", "reason": "", "detail": "", "sha256": f"{5:064x}"},
        {"row": 127, "split": "train", "reason": "", "detail": "", "sha256": f"{127:064x}"},
        {"row": 149, "split": "test", "reason": "", "detail": "", "sha256": f"{149:064x}"},
        {"row": 1024, "split": "train", "reason": "", "detail": "", "sha256": f"{1024:064x}"},
        {"row": 2048, "split": "train", "reason": "", "detail": "", "sha256": ""},
    ]
    assert snapshot.ids(rows).to_pylist()[-2:] == ["fig/0000.jpg", "kiwi/0000.jpg"]
    assert snapshot.table(rows[:0]).num_rows == 0


@pytest.mark.parametrize("column", ["id", "version"])
def test_a_record_of_other_images_is_refused(writable: Made, column: str):
    file = Path(writable.uri) / "commits/000000000064.parquet"
    table = pq.read_table(file)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, column, pa.array(["other"] * table.num_rows)), file)
    with pytest.raises(CorruptStore, match=r"The commit record 000000000064 does not belong to the manifest"):
        open_features(writable.place).rows()
