"""Preview: what a scan and an extraction now would find to do. Nothing is written."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.comparison import Difference, compare
from trunkline.errors import SourceError
from trunkline.manifest import IMAGE_COLUMNS, Manifest, Rows
from trunkline.progress import Progress, Step
from trunkline.shards import BLOCK, Shard, remaining
from trunkline.shards import plan as shards_of
from trunkline.sources import Listed, Source, source_of
from trunkline.specs import RunSpec
from trunkline.stages.scan import is_mass_removal
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset


@dataclass(frozen=True)
class Images:
    """As a scan now would find them; `pending` are unchanged and not extracted; `to_do` of `bytes` in all are to be read."""

    new: int
    changed: int
    renamed: int
    removed: int
    unchanged: int
    pending: int
    to_do: int
    bytes: int


@dataclass(frozen=True)
class Preview:
    """What a scan now would find, and which rows would be pending after it."""

    source: Source
    images: Images
    spans: Sequence[tuple[int, int]]
    missing: Sequence[Shard]
    sample: Sequence[Listed]
    notes: Sequence[str]
    seconds: float


class _ToDo:
    """Images to be extracted, as they stream by: how many, how large, and some of them drawn at random."""

    def __init__(self, manifest: Manifest, sample: int) -> None:
        self._next = -(-manifest.rows // BLOCK) * BLOCK
        self._wanted, self._random = sample, random.Random(0)
        self.count = self.bytes = 0
        self.sample: list[Listed] = []

    def add(self, images: Iterable[Listed]) -> Rows:
        """In a draft's place: the rows that a scan would give them."""
        first = self._next
        for image in images:
            self._draw(image)
            self._next += 1
        return np.arange(first, self._next)

    def add_pending(self, manifest: Manifest, missing: Sequence[Shard] | None, removed: Rows) -> int:
        """Live rows without a commit record, or all where there is no feature set yet (`missing` None); how many there are."""
        before, live = self.count, manifest.live()
        live[removed] = False
        if missing is not None:
            done = np.ones(manifest.rows, bool)
            for shard in missing:
                done[shard.start : shard.stop] = False
            live &= ~done
        for table in manifest.chunks(IMAGE_COLUMNS) if live.any() else ():
            chosen = table.filter(live[table["row"].to_numpy()])
            for row in chosen.to_pylist():
                self._draw(Listed(row["id"], row["size"], row["version"], row["place"]))
        return self.count - before

    def _draw(self, image: Listed) -> None:
        """Each image ends in the sample with the same chance (reservoir sampling)."""
        self.count += 1
        self.bytes += image.size
        if len(self.sample) < self._wanted:
            self.sample.append(image)
        elif (place := self._random.randrange(self.count)) < self._wanted:
            self.sample[place] = image


def preview(spec: RunSpec, dataset: Dataset, before: FeatureSet | None, sample: int, progress: Progress) -> Preview:
    """List the source, compare it with the manifest and the commit records, and draw images to do at random."""
    started = time.monotonic()
    source = source_of(spec)
    source.check()
    dataset.refuse_another(source)
    manifest = dataset.manifest
    to_do, folders, listed = _ToDo(manifest, sample), set[str](), 0

    def seen(images: Sequence[Listed]) -> None:
        nonlocal listed
        listed += len(images)
        folders.update(image.id.split("/", 1)[0] for image in images if "/" in image.id)
        progress(Step("plan", listed, None, "listing"))

    difference = compare(manifest, source.listing(), to_do, seen=seen, again=source.listing)
    if not listed:
        raise SourceError(f"The source {source.root} holds no images, so there is nothing to plan. Check the path.")
    source.layout_of(folders, spec.labels)  # refuses folders that a scan refuses
    spans = list(manifest.spans)
    if to_do.count:
        start = -(-manifest.rows // BLOCK) * BLOCK
        spans.append((start, start + to_do.count))
    missing = remaining(shards_of(spans, before.layout.rows_per_shard), before.commits.done()) if before else []
    old = [shard for shard in missing if shard.start < manifest.rows]
    pending = to_do.add_pending(manifest, old if before else None, difference.removed)
    images = Images(
        new=difference.added,
        changed=difference.changed,
        renamed=difference.renamed,
        removed=difference.gone,
        unchanged=difference.unchanged,
        pending=pending,
        to_do=to_do.count,
        bytes=to_do.bytes,
    )
    return Preview(source, images, spans, missing, to_do.sample, _notes(difference, spec), time.monotonic() - started)


def _notes(difference: Difference, spec: RunSpec) -> list[str]:
    if not is_mass_removal(difference, spec.max_removed_fraction):
        return []
    gone = f"{difference.vanished:,} of {difference.known:,} images are gone, more than {spec.max_removed_fraction:.0%}"
    return [f"A run would stop: {gone}; --max-removed 1 allows it."]
