"""Commit records: created once, and refused where they are not what they should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.store.examples import commit
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.shards import Shard
from trunkline.store.commits import Commits

SHARD = Shard(64, 80)


@pytest.fixture
def commits(tmp_path: Path) -> Commits:
    return Commits(Location.of(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / f"{SHARD.name}.parquet"


def test_a_record_is_read_as_it_was_written(commits: Commits):
    assert commits.done() == frozenset()
    assert commits.create(commit(SHARD))
    assert commits.done() == {SHARD.name}
    read = commits.read(SHARD.name)
    assert read.shard == SHARD
    assert read.table.to_pylist() == commit(SHARD).table.to_pylist()
    assert (read.lease, read.recipe, read.rows_digest) == (1, "r", "d")
    assert read.environment == {"python": "3"}
    assert read.timings == commit(SHARD).timings


def test_the_first_record_stays(commits: Commits, file: Path):
    assert commits.create(commit(SHARD, lease=1))
    first = file.read_bytes()
    assert not commits.create(commit(SHARD, lease=2))
    assert file.read_bytes() == first
    assert commits.read(SHARD.name).lease == 1


def test_any_tool_reads_the_rows(commits: Commits, file: Path):
    commits.create(commit(SHARD))
    assert pq.read_table(file)["row"].to_pylist() == list(range(64, 80))


def test_unfinished_files_are_not_records(commits: Commits, tmp_path: Path):
    (tmp_path / ".000000000064.parquet.abc.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_bytes(b"")
    assert commits.done() == frozenset()


@pytest.mark.parametrize("kept", [0, 10, 0.5])
def test_a_truncated_record_is_refused(commits: Commits, file: Path, kept: float):
    commits.create(commit(SHARD))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept) if kept == 0.5 else int(kept)])
    with pytest.raises(CorruptStore, match=r"000000000064.parquet cannot be read as Parquet .* damaged it"):
        commits.read(SHARD.name)


@pytest.mark.parametrize("said", [None, {}, {"trunkline.commit": "no JSON"}, {"trunkline.commit": '{"shard": [1]}'}])
def test_a_foreign_table_is_refused(commits: Commits, file: Path, said: dict[str, str] | None):
    pq.write_table(pa.table({"row": [1]}).replace_schema_metadata(said), file)
    with pytest.raises(CorruptStore, match=r"000000000064.parquet is not a commit record. Delete it"):
        commits.read(SHARD.name)


def test_a_record_of_too_few_rows_is_refused(commits: Commits):
    whole = commit(SHARD)
    commits.create(replace(whole, table=whole.table.slice(0, 3)))
    with pytest.raises(CorruptStore, match=r"lists 3 rows of shard 000000000064, not the 16 of 000000000064"):
        commits.read(SHARD.name)


def test_a_record_under_another_name_is_refused(commits: Commits, file: Path, tmp_path: Path):
    commits.create(commit(SHARD))
    file.rename(tmp_path / "000000000128.parquet")
    with pytest.raises(CorruptStore, match=r"lists 16 rows of shard 000000000064, not the 16 of 000000000128"):
        commits.read("000000000128")
