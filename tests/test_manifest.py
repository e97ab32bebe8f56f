"""The manifest against a dictionary: rows never renumbered, each image once, batches on boundaries."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manifests import compared, fresh
from tests.manifests import scanned as scan
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.manifest import Manifest
from trunkline.shards import BLOCK, Shard, plan
from trunkline.sources import Listed
from trunkline.tables import parquet_bytes

listings = st.lists(
    st.dictionaries(st.sampled_from([f"{name}/ü\n.jpg" for name in "abcdefgh"]), st.sampled_from("123")), max_size=6
)


def images(count: int, version: str = "1", first: int = 0) -> list[Listed]:
    return [Listed(f"{number:06d}.jpg", 10 + number, version) for number in range(first, first + count)]


def rows_of(table: pa.Table) -> list[tuple[int, str, str, bool]]:
    return [(r["row"], r["id"], r["version"], r["removed"]) for r in table.to_pylist()]


@settings(max_examples=30)
@given(listings)
def test_any_scans_in_a_row_are_what_a_dictionary_says(scans):
    manifest, known, log = fresh(), {}, {}  # id → (version, row); row → (id, version)
    for listing in scans:
        start = -(-manifest.rows // BLOCK) * BLOCK
        difference, manifest = compared(manifest, (Listed(name, 5, version) for name, version in listing.items()))
        gone = {row for name, (version, row) in known.items() if listing.get(name) != version}
        new = [name for name, version in listing.items() if known.get(name, (None,))[0] != version]
        changed = sum(name in known for name in new)
        assert sorted(difference.removed.tolist()) == sorted(gone)
        assert (difference.changed, difference.unchanged) == (changed, len(listing) - len(new))
        assert difference.added + difference.renamed == len(new) - changed
        assert difference.gone + difference.renamed == len(gone) - changed
        assert difference.added_bytes == 5 * len(new)
        assert difference.known == len(known)
        assert difference.is_empty == (not new and not gone)
        known = {name: value for name, value in known.items() if name in listing}
        for row, name in enumerate(new, start):
            known[name] = (listing[name], row)
            log[row] = (name, listing[name])
    live = {row for _, row in known.values()}
    expected = [(row, name, version, row not in live) for row, (name, version) in sorted(log.items())]
    assert rows_of(manifest.images()) == expected
    assert rows_of(Manifest.open(manifest.folder).images()) == expected
    assert manifest.removed.tolist() == sorted(set(log) - live)


def test_an_empty_manifest_has_no_rows():
    manifest = fresh()
    assert (manifest.rows, manifest.spans, manifest.images().num_rows, manifest.removed.tolist()) == (0, [], 0, [])


def test_batches_start_on_boundaries_and_leave_numbers_void():
    manifest = scan(fresh(), images(1500))
    manifest = scan(manifest, images(1500) + images(10, first=1500))
    assert manifest.spans == [(0, 1500), (2048, 2058)]
    assert manifest.rows == 2058
    assert manifest.images()["row"].to_pylist() == [*range(1500), *range(2048, 2058)]


def test_a_changed_image_gets_a_new_row_and_the_old_one_is_marked():
    manifest = scan(fresh(), images(3))
    manifest = scan(manifest, [*images(2), Listed("000002.jpg", 99, "2")])
    assert rows_of(manifest.images()) == [
        (0, "000000.jpg", "1", False),
        (1, "000001.jpg", "1", False),
        (2, "000002.jpg", "1", True),
        (1024, "000002.jpg", "2", False),
    ]


def test_an_image_that_comes_back_gets_a_new_row():
    manifest = scan(fresh(), images(2))
    manifest = scan(manifest, images(1))
    manifest = scan(manifest, images(2))
    assert [(row, removed) for row, _, _, removed in rows_of(manifest.images())] == [(0, False), (1, True), (1024, False)]


@pytest.mark.parametrize("size", [64, 1024])
def test_the_rows_of_every_shard_are_those_of_the_whole(tmp_path, size):
    manifest = scan(Manifest.open(Location.of(tmp_path)), images(2500))
    manifest = scan(manifest, images(1000))  # 1,500 removals: more than a row group of them
    manifest = scan(manifest, images(1100))
    manifest = Manifest.open(manifest.folder)
    assert len(manifest.removed) == 1500
    parts = [manifest.read(shard) for shard in plan(manifest.spans, size)]
    assert pa.concat_tables(parts).equals(manifest.images())
    assert manifest.images()["size"].to_pylist() == [10 + n for n in range(2500)] + [1010 + n for n in range(100)]


def test_the_rows_of_a_shard_are_read_from_one_row_group(tmp_path, monkeypatch):
    manifest = scan(Manifest.open(Location.of(tmp_path)), images(2500))
    opened = []
    whole = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda self, groups, **more: opened.extend(groups) or whole(self, groups, **more)
    )
    assert manifest.read(Shard(1088, 1152))["row"].to_pylist() == list(range(1088, 1152))
    assert opened == [1]


def test_removals_alone_are_a_batch_without_rows():
    manifest = scan(fresh(), images(5))
    manifest = scan(manifest, images(2))
    assert manifest.spans == [(0, 5), (1024, 1024)]
    manifest = scan(Manifest.open(manifest.folder), images(3))
    assert manifest.images()["row"].to_pylist() == [0, 1, 2, 3, 4, 1024]
    assert manifest.removed.tolist() == [2, 3, 4]


def test_of_two_scans_at_once_the_slower_is_told():
    manifest = scan(fresh(), images(2))
    scan(manifest, images(3))
    with pytest.raises(FileExistsError):
        scan(manifest, images(4))
    assert Manifest.open(manifest.folder).images()["id"].to_pylist() == ["000000.jpg", "000001.jpg", "000002.jpg"]


def test_a_written_batch_is_never_rewritten(tmp_path):
    manifest = scan(Manifest.open(Location.of(tmp_path)), images(5))
    before = (tmp_path / "batch-000000.parquet").read_bytes()
    scan(manifest, images(2, "2"))
    assert (tmp_path / "batch-000000.parquet").read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["batch-000000.parquet", "batch-000001.parquet"]


def test_a_missing_batch_is_said(tmp_path):
    manifest = scan(Manifest.open(Location.of(tmp_path)), images(5))
    scan(manifest, images(6))
    (tmp_path / "batch-000000.parquet").unlink()
    with pytest.raises(
        CorruptStore, match=r"has batches \['batch-000001\.parquet'\]: one is missing\. Restore it from a backup"
    ):
        Manifest.open(Location.of(tmp_path))


@pytest.mark.parametrize("metadata", [None, {"trunkline.start": "0"}, {"trunkline.start": "0", "trunkline.stop": "many"}])
def test_a_foreign_batch_is_said(tmp_path, metadata):
    table = pa.table({"row": [0]}).replace_schema_metadata(metadata)
    (tmp_path / "batch-000000.parquet").write_bytes(parquet_bytes(table))
    with pytest.raises(CorruptStore, match=r"batch-000000\.parquet does not say its rows; it is not trunkline's"):
        Manifest.open(Location.of(tmp_path))


def test_a_truncated_batch_is_said(tmp_path):
    scan(Manifest.open(Location.of(tmp_path)), images(5))
    whole = (tmp_path / "batch-000000.parquet").read_bytes()
    (tmp_path / "batch-000000.parquet").write_bytes(whole[:-20])
    with pytest.raises(CorruptStore, match="cannot be read as Parquet"):
        Manifest.open(Location.of(tmp_path))


def test_removed_rows_are_sorted_once_each():
    manifest = scan(scan(scan(fresh(), images(4)), images(2)), [])
    assert manifest.removed.dtype == np.int64
    assert manifest.removed.tolist() == [0, 1, 2, 3]


def test_a_batch_of_an_older_trunkline_has_neither_place_nor_successor(tmp_path):
    table = pa.table(
        {"row": [0, 1, 0], "id": ["a", "b", ""], "size": [1, 2, 0], "version": ["1", "1", ""], "removed": [False, False, True]}
    )
    writer = pq.ParquetWriter(tmp_path / "batch-000000.parquet", table.schema)
    writer.write_table(table.slice(0, 2))
    writer.write_table(table.slice(2))
    writer.add_key_value_metadata({"trunkline.start": "0", "trunkline.stop": "2"})
    writer.close()
    manifest = Manifest.open(Location.of(tmp_path))
    assert manifest.images()["place"].to_pylist() == ["", ""]
    assert rows_of(manifest.images()) == [(0, "a", "1", True), (1, "b", "1", False)]
    assert [manifest.predecessor(row) for row in range(manifest.rows)] == [None] * manifest.rows


def test_as_of_a_batch_later_ones_do_not_exist():
    manifest = scan(scan(scan(fresh(), images(4)), images(2)), images(3))
    assert manifest.as_of(0).removed.tolist() == []
    assert manifest.as_of(1).removed.tolist() == [2, 3]
    assert (manifest.as_of(1).rows, manifest.as_of(2).rows) == (1024, 1025)
    for wrong in (-1, 3):
        with pytest.raises(IndexError):
            manifest.as_of(wrong)


def test_the_chunks_are_the_whole_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.manifest.BLOCKS_AT_ONCE", 2)
    manifest = scan(scan(Manifest.open(Location.of(tmp_path)), images(5000)), images(4000))
    chunks = list(manifest.chunks(("row", "id", "removed")))
    assert [len(chunk) for chunk in chunks] == [2048, 2048, 904]
    assert pa.concat_tables(chunks).equals(manifest.images().select(["row", "id", "removed"]))
    assert manifest.live().nonzero()[0].tolist() == list(range(4000))
