"""Preview: what a scan and an extraction now would find to do. Nothing is written."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.errors import SourceError
from trunkline.locations import Location
from trunkline.manifest import Manifest
from trunkline.progress import Progress, Step
from trunkline.shards import BLOCK, Shard, remaining
from trunkline.shards import plan as shards_of
from trunkline.sources import FolderSource, Listed
from trunkline.specs import RunSpec
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset

LISTED_PER_STEP = 1000


@dataclass(frozen=True)
class Images:
    """As a scan now would find them; `pending` are unchanged and not extracted; `to_do` of `bytes` in all are to be read."""

    new: int
    changed: int
    removed: int
    unchanged: int
    pending: int
    to_do: int
    bytes: int


@dataclass(frozen=True)
class Preview:
    """What a scan now would find, and which rows would be pending after it."""

    source: FolderSource
    images: Images
    spans: Sequence[tuple[int, int]]
    missing: Sequence[Shard]
    sample: Sequence[Listed]
    notes: Sequence[str]
    seconds: float


def preview(spec: RunSpec, dataset: Dataset, before: FeatureSet | None, sample: int, progress: Progress) -> Preview:
    """List the source, compare it with the manifest and the commit records, and draw images to do at random."""
    started = time.monotonic()
    source = FolderSource(Location.of(spec.source))
    dataset.refuse_another(source)
    manifest = dataset.manifest
    listing: list[Listed] = []
    for image in source.listing():
        listing.append(image)
        if len(listing) % LISTED_PER_STEP == 0:
            progress(Step("plan", len(listing), None, "listing"))
    if not listing:
        raise SourceError(f"The source {source.root} holds no images, so there is nothing to plan. Check the path.")
    source.layout((image.id for image in listing), spec.labels)  # refuses folders that a scan refuses
    difference = manifest.compare(listing)
    spans = list(manifest.spans)
    if difference.added:
        start = -(-manifest.rows // BLOCK) * BLOCK
        spans.append((start, start + len(difference.added)))
    missing = remaining(shards_of(spans, before.layout.rows_per_shard), before.commits.done()) if before else []
    pending = _pending(manifest, missing if before else None, difference.removed)
    to_do = [*difference.added, *pending]
    gone = len(difference.removed) - difference.changed
    live = difference.unchanged + len(difference.removed)
    images = Images(
        new=len(difference.added) - difference.changed,
        changed=difference.changed,
        removed=gone,
        unchanged=difference.unchanged,
        pending=len(pending),
        to_do=len(to_do),
        bytes=sum(image.size for image in to_do),
    )
    notes = []
    if gone > spec.max_removed_fraction * live:
        notes.append(
            f"A run would stop: {gone:,} of {live:,} images are gone, more than {spec.max_removed_fraction:.0%}; --max-removed 1 allows it."
        )
    drawn = random.sample(to_do, min(sample, len(to_do)))
    return Preview(source, images, spans, missing, drawn, notes, time.monotonic() - started)


def _pending(manifest: Manifest, missing: Sequence[Shard] | None, removed: Sequence[int]) -> list[Listed]:
    """Images of live rows without a commit record; of all live rows where there is no feature set yet (`missing` None)."""
    table = manifest.images()
    rows = table["row"].to_numpy()
    wanted = ~np.asarray(table["removed"].to_numpy(zero_copy_only=False), bool) & ~np.isin(rows, np.asarray(removed, np.int64))
    if missing is not None:
        starts = np.array([shard.start for shard in missing], np.int64)
        stops = np.array([shard.stop for shard in missing], np.int64)
        within = np.searchsorted(starts, rows, "right") - 1
        wanted &= (within >= 0) & (rows < stops[within]) if len(starts) else False
    chosen = table.filter(wanted).to_pylist()
    return [Listed(row["id"], row["size"], row["version"]) for row in chosen]
