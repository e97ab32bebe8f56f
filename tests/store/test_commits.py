"""Commit records: created once, and refused where they are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.store.examples import commit
from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.shards import Shard
from trunkline.store.commits import Commit, Commits

SHARD = Shard(64, 80)


@pytest.fixture
def commits(tmp_path: Path) -> Commits:
    return Commits(Location.of(tmp_path / "commits"), Location.of(tmp_path / "sealed"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "commits"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def file(folder: Path) -> Path:
    return folder / f"{SHARD.name}.parquet"


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


def test_unfinished_files_are_not_records(commits: Commits, folder: Path):
    (folder / ".000000000064.parquet.abc.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_bytes(b"")
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


def test_a_record_under_another_name_is_refused(commits: Commits, file: Path, folder: Path):
    commits.create(commit(SHARD))
    file.rename(folder / "000000000128.parquet")
    with pytest.raises(CorruptStore, match=r"lists 16 rows of shard 000000000064, not the 16 of 000000000128"):
        commits.read("000000000128")


def shards(count: int) -> list[Shard]:
    return [Shard(16 * number, 16 * number + 16) for number in range(count)]


def checked(seen: list[str]) -> Callable[[Commit], None]:
    return lambda record: seen.append(record.shard.name)


@pytest.fixture
def many(commits: Commits, monkeypatch: pytest.MonkeyPatch) -> Commits:
    """Ten records, of which eight are sealed, four a file."""
    monkeypatch.setattr("trunkline.store.commits.SEALED_AT_ONCE", 4)
    monkeypatch.setattr("trunkline.store.commits.MIN_SEALED", 3)
    for shard in shards(10):
        commits.create(commit(shard))
    seen: list[str] = []
    commits.seal(checked(seen))
    assert seen == [shard.name for shard in shards(8)]
    return commits


def test_sealed_records_are_read_as_they_were_written(many: Commits, monkeypatch: pytest.MonkeyPatch):
    assert many.sealed.names() == ["000000000000-000000000048-4.parquet", "000000000064-000000000112-4.parquet"]
    one_by_one = [many.read(shard.name) for shard in shards(10)]
    opened: list[str] = []
    whole = Commits.read
    monkeypatch.setattr(Commits, "read", lambda self, name: opened.append(name) or whole(self, name))
    together = list(many.each(many.done()))
    assert sorted(opened) == [shard.name for shard in shards(10)[8:]]
    for one, other in zip(one_by_one, together, strict=True):
        assert one.said() == other.said()
        assert one.table.to_pylist() == other.table.to_pylist()
    narrow = list(many.each(many.done(), ("row", "status")))
    assert [each.table.schema.names for each in narrow] == [["row", "status"]] * 10
    assert [each.shard for each in narrow] == shards(10)


def test_sealing_again_takes_the_rest_alone(many: Commits):
    before = {name: (many.sealed / name).read() for name in many.sealed.names()}
    many.seal(checked(seen := []))
    assert seen == []  # two are too few
    many.create(commit(Shard(160, 176)))
    many.seal(checked(seen))
    assert seen == ["000000000128", "000000000144", "000000000160"]
    assert {name: (many.sealed / name).read() for name in before} == before
    assert len(list(many.each(many.done()))) == 11


def test_a_sealed_copy_without_its_record_does_not_count(many: Commits, folder: Path):
    (folder / "000000000016.parquet").unlink()
    assert [each.shard.name for each in many.each(many.done())] == [s.name for s in shards(10) if s.name != "000000000016"]


def test_what_is_forgotten_may_be_written_anew(many: Commits):
    many.forget(["000000000016"])
    assert many.sealed.names() == ["000000000064-000000000112-4.parquet"]
    assert "000000000016" not in many.done()
    many.create(commit(Shard(16, 32), lease=7))
    assert [each.lease for each in many.each(many.done())] == [1, 7, *[1] * 8]


def test_a_damaged_sealed_file_is_only_a_copy(many: Commits):
    for name in many.sealed.names():
        (many.sealed / name).write((many.sealed / name).read()[:50])
    (many.sealed / "strange.parquet").write(commit(Shard(0, 16)).to_bytes())
    assert [each.shard for each in many.each(many.done())] == shards(10)


def test_a_flipped_bit_in_a_sealed_file_is_never_read(many: Commits):
    """Not in the names and places of the records either."""
    wanted = [(each.shard, each.table.to_pylist()) for each in many.each(many.done())]
    place = many.sealed / many.sealed.names()[0]
    whole = place.read()
    for at in range(0, len(whole), 41):
        place.write(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert [(each.shard, each.table.to_pylist()) for each in many.each(many.done())] == wanted


def test_a_sealed_file_that_goes_away_while_it_is_read_is_only_a_copy(many: Commits, monkeypatch: pytest.MonkeyPatch):
    listed = many._sealed()
    many.sealed.remove()
    monkeypatch.setattr(Commits, "_sealed", lambda _: listed)
    assert [each.shard for each in many.each(many.done(), ("row",))] == shards(10)


def test_a_record_that_must_not_be_is_not_sealed(commits: Commits, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trunkline.store.commits.MIN_SEALED", 1)
    commits.create(commit(SHARD))

    def refuse(record: Commit) -> None:
        raise CorruptStore(record.shard.name)

    with pytest.raises(CorruptStore, match="000000000064"):
        commits.seal(refuse)
    assert commits.sealed.names() == []
