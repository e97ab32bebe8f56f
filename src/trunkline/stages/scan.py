"""Scan: source → manifest, labels, splits. What is unchanged costs a comparison of versions and nothing else."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trunkline.annotations import annotate
from trunkline.comparison import Difference, Told, compare
from trunkline.drafts import Draft
from trunkline.errors import RunError, SourceError
from trunkline.locations import Location
from trunkline.progress import Progress, Step, silent
from trunkline.sources import Listed, Source, source_of
from trunkline.specs import RunSpec
from trunkline.stages.watched import watched
from trunkline.store.feature_store import Dataset, FeatureStore

TRIES = 5
SUFFIXES = ".jpg .jpeg .png .webp .bmp .gif .tif .tiff"
WHAT_COUNTS = {
    "folder": f"images ({SUFFIXES}, at any depth)",
    "glob": f"images ({SUFFIXES}) that match",
    "tar": f"images ({SUFFIXES} among its members)",
    "table": "rows, each of which would be an image",
    "bytes": "rows, each of which would be an image",
}


@dataclass(frozen=True)
class ScanReceipt:
    """What a scan found; `batch` is the last one it appended, None where nothing had changed. A renamed image has the version of one
    that is gone.
    """

    dataset: str
    batch: int | None
    added: int
    changed: int
    renamed: int
    removed: int
    unchanged: int
    labels_changed: bool
    seconds: float

    def in_words(self) -> str:
        counts = (self.added, self.changed, self.renamed, self.removed, self.unchanged)
        return "{:,} new, {:,} changed, {:,} renamed, {:,} removed, {:,} unchanged".format(*counts)


@watched("scan", ScanReceipt.in_words)
def scan(spec: RunSpec, progress: Progress = silent) -> ScanReceipt:
    """Append what is new to the dataset's manifest.

    Raises
    ------
    SourceError : missing, empty, bound to another dataset, an id twice, or so many images gone that the source seems unmounted.
    StoreError : the store is foreign or newer.
    """
    started = time.monotonic()
    source = source_of(spec)
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory(prefix="trunkline-scan-") as folder:
            seen = _Seen(source, progress)
            dataset = _dataset_of(spec, source)
            manifest = dataset.manifest
            draft = Draft(Path(folder), manifest)
            difference = compare(manifest, source.listing(), draft, seen.told, seen, source.listing)
            seen.refuse_nothing(difference, spec.max_removed_fraction)
            _guard_against_mass_removal(difference, source, spec.max_removed_fraction)
            layout = source.layout_of(seen.folders, spec.labels)
            FeatureStore.create(Location.of(spec.store))
            dataset.bind(source)
            try:
                drafted = draft.finish(difference.removed, difference.successors)
                after = manifest.append(drafted) if drafted else manifest
                break
            except FileExistsError:
                continue  # another scan appended the same batch number; compare with what it wrote
    else:
        raise RunError(f"Other scans of {dataset.name} kept appending first; start this one again when they are done.")
    labels_changed = annotate(
        dataset, after, layout, spec.split, seen.told if spec.labels == "folders" else _without_labels(seen.told)
    )
    return ScanReceipt(
        dataset=dataset.name,
        batch=None if difference.is_empty else len(after.batches) - 1,
        added=difference.added,
        changed=difference.changed,
        renamed=difference.renamed,
        removed=difference.gone,
        unchanged=difference.unchanged,
        labels_changed=labels_changed,
        seconds=time.monotonic() - started,
    )


def _dataset_of(spec: RunSpec, source: Source) -> Dataset:
    """The dataset, whether or not it is there yet. Raises StoreError or SourceError before anything is listed or written."""
    source.check()
    root = Location.of(spec.store)
    FeatureStore.existing(root)
    dataset = FeatureStore(root).dataset(spec.dataset_name)
    dataset.refuse_another(source)
    return dataset


class _Seen:
    """A listing as it streams by: counted, its top folders remembered, what it tells of labels and splits kept."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self._source, self._progress = source, progress
        self._count = 0
        self.folders: set[str] = set()
        self.told = Told() if source.tells_labels else None

    def __call__(self, images: Sequence[Listed]) -> None:
        self._count += len(images)
        self._progress(Step("scan", self._count, None))
        inside = ""
        for image in images:
            if not inside or not image.id.startswith(inside):  # listings go folder by folder
                top, slash, _ = image.id.partition("/")
                inside = top + slash if slash else ""
                if slash:
                    self.folders.add(top)

    def refuse_nothing(self, difference: Difference, most: float) -> None:
        """An empty source is a mistake, unless all images are meant to be gone."""
        self._progress(Step("scan", self._count, self._count))
        if not self._count and not (difference.known and most >= 1):
            raise SourceError(
                f"The source {self._source.root} holds no {WHAT_COUNTS[self._source.said()['kind']]}, so there is nothing to extract. "
                "Check the path. If all images are meant to be gone, run again with --max-removed 1."
            )


def is_mass_removal(difference: Difference, most: float) -> bool:
    """Whether more than this share of the images is gone, or listed and not there, as behind a lost mount."""
    return difference.vanished > most * difference.known


def _without_labels(told: Told | None) -> Told | None:
    """What the source tells, but for labels that were not asked for."""
    return told and Told(told.rows, [[None] * len(labels) for labels in told.labels], told.splits)


def _guard_against_mass_removal(difference: Difference, source: Source, most: float) -> None:
    if is_mass_removal(difference, most):
        raise SourceError(
            f"{difference.vanished} of {difference.known} images are gone from {source.root}, more than {most:.0%}: is a disk or bucket "
            "not mounted? Nothing was marked. If they are meant to be gone, run again with --max-removed 1."
        )
