"""How a store is looked at, and what must be seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.model import stub
from tests.model.dictionary import OK, Dictionary, Line, Row
from trunkline.accounting import RowCounts
from trunkline.errors import CorruptStore
from trunkline.maintenance.gc import collect
from trunkline.maintenance.verify import Verified
from trunkline.reader import Features
from trunkline.store.feature_set import FeatureSet

INDEX = ("row", "id", "label", "split", "status", "reason", "sha256", "version")


def numbers(rows: Iterable[int]) -> NDArray[np.int64]:
    return np.array(list(rows), np.int64)


def in_words(counts: RowCounts) -> Mapping[str, int]:
    """Also: everything is accounted for."""
    said = asdict(counts)
    assert counts.ok + counts.quarantined + counts.pending == counts.live
    assert counts.live + counts.removed + counts.void == counts.rows
    return said


def same(features: Features, lines: Sequence[Line]) -> None:
    """The index, line by line; features bit for bit, all together and by split."""
    seen = list(zip(*(features.index()[name].to_pylist() for name in INDEX), strict=True))
    assert seen == [tuple(getattr(line, name) for name in INDEX) for line in lines]
    ok = [line for line in lines if line.status == OK]
    assert features.rows().tolist() == [line.row for line in ok]
    for layer in stub.LAYERS:
        read, labels = features.numpy(layer=layer)
        expected = [stub.features_of(line.content)[layer] for line in ok]
        assert read.tobytes() == b"".join(each.tobytes() for each in expected)
        assert labels.tolist() == [line.label for line in ok]
    for split in {line.split for line in lines} - {None}:
        assert features.rows(split).tolist() == [line.row for line in ok if line.split == split]


def passes(model: Dictionary, wasted: Counter[bytes] | None = None) -> None:
    """No image went through the backbone more often than it had to; `wasted` may have, as a dead run's work was not committed."""
    real, needed = stub.passes, Counter[bytes]()
    for content, count in model.passes.items():
        needed[stub.pixels_of(content).tobytes()] += count
    if wasted is None:
        assert real == needed
        return
    assert needed <= real
    allowed = Counter({stub.pixels_of(content).tobytes(): count for content, count in wasted.items()})
    assert real - needed <= allowed
    real.clear()
    model.passes.clear()


def no_orphans(store: Path) -> None:
    found = collect(str(store), grace=0.0)
    assert found.orphans == ()
    assert found.unknown == ()


def clean(found: Verified, model: Dictionary, tidy: bool) -> None:
    """Nothing is damaged. After a death, plain tools may not see all of the HDF5 parts yet."""
    findings = [finding for finding in found.findings if tidy or (finding.what, str(finding.severity)) != ("arrays", "derived")]
    assert findings == []
    for each in found.feature_sets:
        assert in_words(each.counts) == model.counts()
        assert each.unknown == 0


def damaged(features: FeatureSet, rows: Iterable[Line]) -> set[int]:
    """Rows whose stored features are not those of their image, found without verify."""
    found = set()
    for line in rows:
        for layer in stub.LAYERS:
            try:
                (read,) = features.arrays.read(layer, line.row, line.row + 1)
            except Exception:  # a damaged object fails in any of its library's ways
                found.add(line.row)
                continue
            wanted = stub.features_of(line.content)[layer] if line.status == OK else None
            if (not np.isnan(read).all()) if wanted is None else read.tobytes() != wanted.tobytes():
                found.add(line.row)
    return found


def recorded(row: Row) -> Line:
    """A row as its commit record has it, whatever became of it later."""
    return Line(row.row, row.id, row.label, row.split, row.status, row.reason, row.sha256, row.version, row.content)


def record_is_right(features: FeatureSet, rows: Sequence[Row]) -> bool:
    """Whether a shard's record can be read, and says what it was written with."""
    names = ("row", "id", "version", "status", "reason", "sha256")
    try:
        table = features.commits.read(f"{rows[0].row:012d}").table
    except CorruptStore:
        return False
    read = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    return read == [tuple(getattr(row, name) for name in names) for row in rows]


def holds_something(features: FeatureSet, row: int) -> bool:
    """Whether features of a row can be read, right or wrong."""
    for layer in stub.LAYERS:
        try:
            if not np.isnan(features.arrays.read(layer, row, row + 1)).all():
                return True
        except Exception:  # a damaged object fails in any of its library's ways
            continue
    return False


def traces(store: Path, words: Iterable[str], bits: Iterable[bytes]) -> list[str]:
    """Files of the store that hold one of the words, or of the features, compressed or not."""
    found, sought = [], [*(word.encode() for word in words), *bits]
    for place in store.rglob("*"):
        if place.is_file():
            content = place.read_bytes()
            if place.suffix == ".parquet":
                content += str(pq.read_table(place).to_pylist()).encode()
            found += [f"{place.relative_to(store)}: {each!r}" for each in sought if each in content]
    return found
