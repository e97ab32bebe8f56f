"""Random operations, in any order, on a store and its dictionary."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model import breaking, looks, stub
from tests.model.dictionary import OK
from tests.model.twins import Twins

FOLDERS = ("ant/", "bee/", "")
NAMES = [f"{folder}image-{number}.png" for folder in FOLDERS for number in range(4)]
CONTENTS = [*(b"picture %d" % number for number in range(6)), b"bad picture", b"bad page", b"inf picture"]
PARTS = (
    "",
    "commits/",
    "sealed/",
    "moments/",
    "manifest/",
    "labels/",
    "splits/",
    "leases/",
    "features/",
    "features.",
    "parts/",
)

names, contents = st.sampled_from(NAMES), st.sampled_from(CONTENTS)
parts, times = st.just("") | st.sampled_from(PARTS), st.sampled_from([0, 0, 1, 1, 2, 3, 4, 6, 9, 13, 20, 40])
picks = st.integers(0, 2**16)


class StoreMachine(RuleBasedStateMachine):
    """`format` is set by subclasses."""

    format = ""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        stub.install(self.patch)
        self.folder = Path(tempfile.mkdtemp(prefix="trunkline-model-"))
        self.twins = Twins(self.folder, self.format)
        self.added = 0

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.folder)

    @property
    def model(self):
        return self.twins.model

    def image(self, pick: int) -> str:
        ids = sorted(self.model.disk)
        return ids[pick % len(ids)]

    # the source

    @initialize(many=st.sampled_from([0, 3, 70]), image=names)
    def begin(self, many: int, image: str) -> None:
        self.twins.write(image, CONTENTS[0])
        self.add_many(many)

    @rule(image=names, content=contents)
    def write(self, image: str, content: bytes) -> None:
        """Adds an image, or changes one."""
        self.twins.write(image, content)

    @rule(count=st.sampled_from([2, 2, 65, 130]))
    def add_many(self, count: int) -> None:
        for _ in range(count if len(self.model.disk) < 300 else 1):
            self.added += 1
            self.twins.write(f"ant/more-{self.added:04d}.png", b"one more %d" % (self.added // 2))

    @precondition(lambda self: self.model.disk)
    @rule(pick=picks)
    def touch(self, pick: int) -> None:
        self.twins.touch(self.image(pick))

    @precondition(lambda self: self.model.disk)
    @rule(pick=picks, new=names)
    def rename(self, pick: int, new: str) -> None:
        old = self.image(pick)
        if new != old:
            self.model.disk.pop(new, None)
            self.twins.rename(old, new)

    @precondition(lambda self: self.model.disk)
    @rule(pick=picks, new=names)
    def copy_with_its_date(self, pick: int, new: str) -> None:
        old = self.image(pick)
        if new not in self.model.disk:
            self.twins.copy(old, new)

    @precondition(lambda self: self.model.disk)
    @rule(pick=picks, count=st.sampled_from([1, 1, 2, 64, 400]))
    def remove(self, pick: int, count: int) -> None:
        ids = sorted(self.model.disk)
        start = pick % len(ids)
        for image in ids[start : start + count]:
            self.twins.remove(image)

    # the store

    @rule()
    def scan(self) -> None:
        self.twins.scan()

    @rule()
    def run(self) -> None:
        self.twins.scan()
        self.twins.extract()

    @rule()
    def extract(self) -> None:
        """Though the source may have changed since it was scanned."""
        self.twins.extract()

    @rule()
    def retry_quarantine(self) -> None:
        self.twins.retry()

    @rule()
    def gc(self) -> None:
        self.twins.collect()

    @rule()
    def verify(self) -> None:
        self.twins.check_verified()

    @precondition(lambda self: self.model.live())
    @rule(pick=picks, label=st.sampled_from(["ant", "wasp"]), split=st.sampled_from(["train", "val"]))
    def relabel(self, pick: int, label: str, split: str) -> None:
        live = self.model.live()
        self.twins.relabel(live[pick % len(live)].row, label, split)

    @precondition(lambda self: self.twins.feature_set)
    @rule(pick=picks, touched=st.booleans())
    def open_and_keep(self, pick: int, touched: bool) -> None:
        batch = pick % (len(self.model.batches) + 1)
        self.twins.keep(batch if batch < len(self.model.batches) else None, touched)

    @rule()
    def travel_in_time(self) -> None:
        self.twins.check_time_travel()

    # deaths

    @rule(part=parts, after=times, image=names, content=contents)
    def kill_scan(self, part: str, after: int, image: str, content: bytes) -> None:
        self.twins.write(image, content)
        self.twins.die_scanning(part, after)

    @rule(part=parts, after=times, image=names, content=contents)
    def kill_extract(self, part: str, after: int, image: str, content: bytes) -> None:
        self.twins.write(image, content)
        self.twins.scan()
        self.twins.die_extracting(part, after)

    @rule(part=parts, after=times)
    def kill_extract_of_what_is_there(self, part: str, after: int) -> None:
        self.twins.die_extracting(part, after)

    @rule(part=parts, after=times, image=names)
    def kill_retry(self, part: str, after: int, image: str) -> None:
        self.twins.write(image, CONTENTS[-1])
        self.run()
        self.twins.die_retrying(part, after)

    @rule(part=parts, after=times)
    def kill_gc(self, part: str, after: int) -> None:
        self.twins.die_collecting(part, after)

    # damage, and being forgotten

    @precondition(lambda self: self.twins.feature_set)
    @rule(pick=picks, how=st.sampled_from(breaking.WAYS), at=picks, death=st.none() | st.tuples(parts, times))
    def break_and_repair(self, pick: int, how: str, at: int, death: tuple[str, int] | None) -> None:
        if not self.twins.tidy:
            self.twins.extract()
        breaking.break_and_repair(self.twins, pick, how, at, death)

    @precondition(lambda self: any(row.removed is not None and not row.purged for row in self.model.rows.values()))
    @rule(pick=st.none() | picks, death=st.none() | st.tuples(parts, times))
    def purge(self, pick: int | None, death: tuple[str, int] | None) -> None:
        live = {row.id for row in self.model.live()}
        gone = sorted({row.id for row in self.model.rows.values() if row.removed is not None and not row.purged} - live)
        ids = [gone[pick % len(gone)]] if pick is not None and gone else None
        forgotten = [row for row in self.model.rows.values() if row.removed is not None and (ids is None or row.id in ids)]
        words = {row.id for row in forgotten} - {row.id for row in self.model.rows.values() if row not in forgotten} - {""}
        known = {row.content for row in self.model.rows.values() if row not in forgotten}
        bits = [
            stub.features_of(row.content)["wide"].tobytes()
            for row in forgotten
            if row.status == OK and row.content not in known
        ]
        if death is not None:
            self.twins.die_purging(ids, *death)
        else:
            self.twins.purge(ids)
        self.twins.collect()
        assert looks.traces(self.twins.store, words, bits) == []

    # what holds after each step

    @invariant()
    def both_are_the_same(self) -> None:
        self.twins.check()
