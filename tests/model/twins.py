"""A real store and its dictionary, side by side: each operation is done to both, then they are compared."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.model import looks, stub
from tests.model.dictionary import SHARD, Dictionary, File, Row
from tests.model.dying import dying
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import DataError, SourceError, StorageUnreachable
from trunkline.locations import Location
from trunkline.maintenance.gc import collect
from trunkline.maintenance.purge import purge
from trunkline.maintenance.repair import repair
from trunkline.maintenance.retry import retry
from trunkline.maintenance.verify import Verified, verify
from trunkline.reader import Features
from trunkline.sources.objects import local_version
from trunkline.specs import RunSpec
from trunkline.stages.extract import extract
from trunkline.stages.scan import scan
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore

NAME = "model"
BEGAN = 1_700_000_000_000_000_000
ROUNDS = 2


@dataclass
class Kept:
    """A snapshot that somebody opened, and what was there then."""

    features: Features
    lines: list[Any]


class Twins:
    """In `folder`; every file of the source gets a modification time of its own."""

    def __init__(self, folder: Path, format_: str) -> None:
        self.source, self.store = folder / "images", folder / "store"
        self.source.mkdir(parents=True)
        self.model = Dictionary()
        self.ticks = 0
        self.tidy = True  # nothing died since the last whole run
        self.kept: list[Kept] = []
        self.spec = RunSpec.model_validate(
            {
                "source": str(self.source),
                "store": str(self.store),
                "dataset": NAME,
                "cluster": {"kind": "inline"},
                "storage": {"format": format_, "rows_per_shard": SHARD},
                "max_removed_fraction": 1.0,
                "max_bad_fraction": 1.0,
            }
        )
        stub.passes.clear()

    # the source

    def write(self, image: str, content: bytes) -> None:
        place = self.source / image
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        self.touch(image)

    def touch(self, image: str) -> None:
        self.ticks += 1
        place = self.source / image
        os.utime(place, ns=(BEGAN + self.ticks, BEGAN + self.ticks))
        self._note(image)

    def rename(self, old: str, new: str) -> None:
        (self.source / new).parent.mkdir(exist_ok=True)
        (self.source / old).rename(self.source / new)
        del self.model.disk[old]
        self._note(new)

    def copy(self, old: str, new: str) -> None:
        """With its date, as `cp -p` does."""
        (self.source / new).parent.mkdir(exist_ok=True)
        shutil.copy2(self.source / old, self.source / new)
        self._note(new)

    def remove(self, image: str) -> None:
        (self.source / image).unlink()
        del self.model.disk[image]

    def _note(self, image: str) -> None:
        place = self.source / image
        self.model.disk[image] = File(place.read_bytes(), local_version(place.stat()))

    # the store

    @property
    def dataset(self) -> Dataset:
        return FeatureStore(Location.of(self.store)).dataset(NAME)

    @property
    def feature_set(self) -> FeatureSet | None:
        """None before the first extraction."""
        found = sorted(self.store.glob(f"features/{NAME}/*/layout.json"))
        return FeatureSet.open(Location.of(found[0].parent)) if found else None

    def scan(self) -> None:
        if not self.model.disk:
            with pytest.raises(SourceError, match="holds no images"):
                scan(self.spec)
            return
        before = len(self.model.batches)
        receipt = scan(self.spec)
        changed = self.model.scan(self.order)
        assert receipt.batch == (before if changed else None)
        self.model.annotate(self.spec.split)

    def extract(self) -> None:
        if not self.model.batches:
            return
        wanted = self.model.extract()
        with Cluster(self.spec.cluster) as cluster:
            if not wanted:
                self.tidy = False
                with pytest.raises(StorageUnreachable, match="is the disk or bucket mounted"):
                    extract(self.spec, cluster)
            elif not (counts := self.model.counts())["ok"] and counts["quarantined"]:
                with pytest.raises(DataError, match="Not one of"):
                    extract(self.spec, cluster)
                self.tidy = True
            else:
                receipt = extract(self.spec, cluster)
                assert looks.in_words(receipt.counts) == self.model.counts()
                self.tidy = True
        looks.passes(self.model)

    def retry(self) -> None:
        if (self.store / "store.json").exists():
            before, ids = len(self.model.batches), [row.id for row in self.model.retried()]
            (done,) = retry(str(self.store))
            assert list(done.retried) == ids
            assert done.batch == (before if ids else None)
            self.model.retry()

    def collect(self) -> None:
        if (self.store / "store.json").exists():
            collect(str(self.store), delete=True, grace=0.0)
            looks.no_orphans(self.store)

    def purge(self, ids: list[str] | None) -> None:
        done = purge(str(self.store), NAME, ids or (), erase=True)
        assert done.images == self.model.purge(ids)
        self.kept.clear()

    def verified(self) -> Verified:
        with Cluster(self.spec.cluster) as cluster:
            return verify(str(self.store), cluster)

    def repaired(self) -> Verified:
        """As the command does."""
        found = self.verified()
        with Cluster(self.spec.cluster) as cluster:
            for _ in range(ROUNDS):
                if found.findings:
                    repair(str(self.store), found, cluster, lambda _: None)
                    found = self.verified()
        return found

    def relabel(self, row: int, label: str, split: str) -> None:
        """As a person corrects them; folders have their say again at the next scan."""
        assert self.dataset.labels.append(looks.numbers([row]), pa.array([label]))
        assert self.dataset.splits.append(looks.numbers([row]), pa.array([split]))
        self.model.rows[row].label, self.model.rows[row].split = label, split

    def keep(self, batch: int | None, touched: bool) -> None:
        features = open_features(self.store, batch=batch)
        if touched:
            features.rows()
        self.kept = [*self.kept[-2:], Kept(features, self.model.lines(batch))]

    # deaths

    def die(self, work: Callable[[], object], part: str, after: int) -> bool:
        """Do it, and die on the way if there are so many changes; whether it came to that."""
        with dying(self.store, part, after) as death:
            work()
        self.tidy = self.tidy and not death.happened
        return death.happened

    def die_scanning(self, part: str, after: int) -> None:
        if not self.model.disk:
            return
        before = copy.deepcopy(self.model)
        if not self.die(lambda: scan(self.spec), part, after) or self.appended():
            self.model.scan(self.order)
            self._adopt_annotations(before)

    def die_extracting(self, part: str, after: int) -> None:
        if not self.model.batches:
            return
        with Cluster(self.spec.cluster) as cluster:
            self.die(lambda: self._extract_anyhow(cluster), part, after)
        self.adopt_commits()

    def _extract_anyhow(self, cluster: Cluster) -> None:
        try:
            extract(self.spec, cluster)
        except (StorageUnreachable, DataError):
            pass

    def die_retrying(self, part: str, after: int) -> None:
        if not (self.store / "store.json").exists():
            return
        self.die(lambda: retry(str(self.store)), part, after)
        if self.appended():
            before = copy.deepcopy(self.model)
            self.model.retry()
            self._adopt_annotations(before)

    def die_collecting(self, part: str, after: int) -> None:
        if (self.store / "store.json").exists():
            self.die(lambda: collect(str(self.store), delete=True, grace=0.0), part, after)

    def appended(self) -> bool:
        return len(self.dataset.manifest.batches) > len(self.model.batches)

    def die_purging(self, ids: list[str] | None, part: str, after: int) -> None:
        """And start the same again, which finishes it, though the manifest may not know the ids any more."""
        self.kept.clear()
        tidy = self.tidy
        if self.die(lambda: purge(str(self.store), NAME, ids or (), erase=True), part, after):
            with contextlib.suppress(DataError):  # it may have erased the ids before
                purge(str(self.store), NAME, ids or (), erase=True)
        self.tidy = tidy
        self.model.purge(ids)

    def adopt_commits(self, twice: Iterable[Row] = ()) -> None:
        """What a dead run committed; it may have computed the rest in vain, and those of `twice` again."""
        done = {int(name) for name in self.feature_set.commits.done()} if self.feature_set else set()
        wasted = Counter(row.content for row in twice)
        for start, rows in self.model.shards():
            if start in done and start not in self.model.done:
                assert self.model.extract_shard(rows)
            elif start not in done:
                wasted.update(row.content for row in rows if row.removed is None)
        looks.passes(self.model, wasted)

    def _adopt_annotations(self, before: Dictionary) -> None:
        """Labels and splits that a dead scan wrote or did not write."""
        halfway = {number: (row.label, row.split) for number, row in self.model.rows.items()}
        for number, row in before.rows.items():
            halfway[number] = (row.label, row.split)
        self.model.annotate(self.spec.split)
        rows = looks.numbers(sorted(self.model.rows))
        labels, splits = (
            versions.values(self.model.stop).of(rows).tolist() for versions in (self.dataset.labels, self.dataset.splits)
        )
        for number, label, split in zip(rows.tolist(), labels, splits, strict=True):
            row = self.model.rows[number]
            assert label in (None, row.label, halfway[number][0])
            assert split in (None, row.split, halfway[number][1])
            row.label, row.split = label, split

    def order(self, number: int) -> list[str]:
        """The ids of a batch, in the order of its rows."""
        manifest = self.dataset.manifest
        batch = manifest.batches[number]
        assert batch.start == self.model.next_start()
        assert len(manifest.batches) == len(self.model.batches) + 1
        return manifest.take(looks.numbers(range(batch.start, batch.stop)), ("id",))["id"].to_pylist()

    # comparison

    def check(self) -> None:
        if not self.model.batches:
            return
        manifest = self.dataset.manifest
        assert manifest.spans == [(batch.start, batch.stop) for batch in self.model.batches]
        if self.feature_set is None:
            return
        assert {int(name) for name in self.feature_set.commits.done()} == self.model.done
        looks.same(open_features(self.store), self.model.lines())
        for kept in self.kept:
            looks.same(kept.features, kept.lines)

    def check_time_travel(self) -> None:
        for batch in range(len(self.model.batches) if self.feature_set else 0):
            looks.same(open_features(self.store, batch=batch), self.model.lines(batch))

    def check_verified(self) -> None:
        if not (self.store / "store.json").exists():
            return
        looks.clean(self.verified(), self.model, self.tidy)
