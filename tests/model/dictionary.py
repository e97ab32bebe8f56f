"""The dictionary: what every row of a dataset is, by the rules of the design and without a look at the store's code."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.model import stub
from trunkline.sources.layout import hashed_split
from trunkline.specs import SplitSpec

BLOCK, SHARD = 1024, 64
OK, QUARANTINED, PENDING, VOID, REMOVED = "ok", "quarantined", "pending", "void", "removed"


@dataclass(frozen=True)
class File:
    """A file of the source now."""

    content: bytes
    version: str


@dataclass
class Row:
    """One row of the manifest, and what became of it. `content` is what the scan saw."""

    row: int
    id: str
    version: str
    content: bytes
    before: int | None = None
    removed: int | None = None
    label: str | None = None
    split: str | None = None
    status: str = PENDING
    reason: str = ""
    sha256: str = ""
    purged: bool = False


@dataclass
class Batch:
    start: int
    stop: int


@dataclass(frozen=True)
class Line:
    """What a reader must see of a row."""

    row: int
    id: str
    label: str | None
    split: str | None
    status: str
    reason: str
    sha256: str
    version: str
    content: bytes


@dataclass
class Dictionary:
    """Rows by number, the files of the source by id, and which shards are committed."""

    disk: dict[str, File] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    passes: Counter[bytes] = field(default_factory=Counter)

    def live(self) -> list[Row]:
        return [row for row in self.rows.values() if row.removed is None]

    @property
    def stop(self) -> int:
        return self.batches[-1].stop if self.batches else 0

    def next_start(self) -> int:
        return -(-self.stop // BLOCK) * BLOCK

    # what a scan does

    def scan(self, order: Callable[[int], list[str]]) -> bool:
        """`order` gives the ids of a batch in the order of its rows. False where nothing changed."""
        known = {row.id: row for row in self.live()}
        new = {id_ for id_, file in self.disk.items() if id_ not in known or known[id_].version != file.version}
        gone = {id_: row for id_, row in known.items() if id_ not in self.disk}
        if not new and not gone:
            return False
        number, start = len(self.batches), self.next_start()
        ids = order(number)
        assert set(ids) == new
        assert len(ids) == len(new)
        fresh = [id_ for id_ in ids if id_ not in known]
        came, went = (Counter(each) for each in ([self.disk[i].version for i in fresh], [row.version for row in gone.values()]))
        old_names = {row.version: row for row in gone.values() if went[row.version] == 1 and came[row.version] == 1}
        for place, id_ in enumerate(ids):
            file = self.disk[id_]
            before = known.get(id_) or old_names.get(file.version)
            self._add(start + place, id_, file, before)
        for row in [*gone.values(), *(known[id_] for id_ in new if id_ in known)]:
            row.removed = number
        self.batches.append(Batch(start, start + len(ids)))
        return True

    def annotate(self, spec: SplitSpec) -> None:
        """Labels by folders; a split once for all, handed on by renames."""
        splits = {row.row: row.split for row in self.rows.values()}
        for row in self.live():
            if "/" in row.id:
                row.label = row.id.split("/")[0]
            if row.split is None:
                inherited = splits[row.before] if row.before is not None else None
                row.split = inherited or hashed_split(row.id, spec)

    def _add(self, number: int, id_: str, file: File, before: Row | None) -> Row:
        self.rows[number] = Row(number, id_, file.version, file.content, before.row if before else None)
        return self.rows[number]

    # what an extraction does

    def shards(self) -> Iterator[tuple[int, list[Row]]]:
        """Each with its rows, in order."""
        for batch in self.batches:
            for start in range(batch.start, batch.stop, SHARD):
                yield start, [self.rows[row] for row in range(start, min(start + SHARD, batch.stop))]

    def extract(self) -> bool:
        """False where a whole shard is missing from the source, so that the run stops there."""
        return all(self.extract_shard(rows) for start, rows in self.shards() if start not in self.done)

    def extract_shard(self, rows: list[Row]) -> bool:
        live = [row for row in rows if row.removed is None]
        if len(live) > 1 and all(row.id not in self.disk for row in live):
            return False
        for row in rows:
            self._extract_row(row)
        self.done.add(rows[0].row)
        return True

    def _extract_row(self, row: Row) -> None:
        file = self.disk.get(row.id)
        if row.removed is not None:
            row.status, row.reason, row.sha256 = VOID, "", ""
        elif file is None or file.version != row.version:
            row.status, row.reason, row.sha256 = QUARANTINED, "missing" if file is None else "changed", ""
        else:
            row.sha256 = hashlib.sha256(row.content).hexdigest()
            row.status, row.reason = self._outcome(row)

    def _outcome(self, row: Row) -> tuple[str, str]:
        earlier = self._extracted_before(row)
        if earlier is not None and earlier.content == row.content:
            return OK, ""
        if row.content.startswith(stub.NO_IMAGE):
            return QUARANTINED, stub.BAD_REASON
        self.passes[row.content] += 1
        return (QUARANTINED, "non-finite") if row.content.startswith(stub.NO_NUMBER) else (OK, "")

    def _extracted_before(self, row: Row) -> Row | None:
        """The nearest row before it that has features."""
        before = row.before
        while before is not None:
            earlier = self.rows[before]
            if earlier.status == OK:
                return earlier
            before = earlier.before
        return None

    # what the maintenance does

    def forget_shard(self, start: int, rows: Iterable[Row]) -> None:
        """Its record is gone: its rows wait again."""
        self.done.discard(start)
        for row in rows:
            row.status, row.reason, row.sha256 = PENDING, "", ""

    def retried(self) -> list[Row]:
        """Quarantined live rows whose file is there."""
        return [row for _, row in sorted(self.rows.items()) if self._is_retried(row)]

    def _is_retried(self, row: Row) -> bool:
        return row.removed is None and row.status == QUARANTINED and row.id in self.disk

    def retry(self) -> None:
        old = self.retried()
        number, start = len(self.batches), self.next_start()
        for place, row in enumerate(old):
            new = self._add(start + place, row.id, self.disk[row.id], row)
            new.label, new.split = row.label, row.split
            row.removed = number
        if old:
            self.batches.append(Batch(start, start + len(old)))

    def purge(self, ids: Iterable[str] | None) -> int:
        wanted = None if ids is None else set(ids)
        count = 0
        for row in self.rows.values():
            if row.removed is None or row.purged or (wanted is not None and row.id not in wanted):
                continue
            count += 1
            row.id = row.version = row.sha256 = row.reason = ""
            row.label = row.split = None
            row.content, row.purged = b"", True
            if row.status != PENDING:
                row.status = VOID
        return count

    # what a reader sees

    def counts(self) -> Mapping[str, int]:
        statuses = Counter(row.status for row in self.live())
        return {
            "ok": statuses[OK],
            "quarantined": statuses[QUARANTINED],
            "pending": statuses[PENDING],
            "removed": len(self.rows) - len(self.live()),
            "void": self.stop - len(self.rows),
        }

    def lines(self, batch: int | None = None) -> list[Line]:
        """The index as of a batch."""
        last = len(self.batches) - 1 if batch is None else batch
        stop = self.batches[last].stop
        return [self._line(row, last) for number, row in sorted(self.rows.items()) if number < stop]

    def _line(self, row: Row, last: int) -> Line:
        status = REMOVED if row.removed is not None and row.removed <= last else row.status
        return Line(row.row, row.id, row.label, row.split, status, row.reason, row.sha256, row.version, row.content)
