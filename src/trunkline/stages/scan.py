"""Scan: source → manifest. New and changed images become rows, gone ones are marked, labels and splits get a version."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trunkline.errors import RunError, SourceError
from trunkline.locations import Location
from trunkline.manifest import Difference, Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.sources import FolderSource, Layout, Listed
from trunkline.specs import RunSpec, SplitSpec
from trunkline.store.feature_store import Dataset, FeatureStore

LISTED_PER_STEP = 1000
TRIES = 3


@dataclass(frozen=True)
class ScanReceipt:
    """What a scan found: images by what is new about them, and the batch it wrote, None where nothing is new."""

    dataset: str
    batch: int | None
    added: int
    changed: int
    removed: int
    unchanged: int
    labels_changed: bool
    seconds: float


def scan(spec: RunSpec, progress: Progress = silent) -> ScanReceipt:
    """Append what is new to the dataset's manifest.

    Raises
    ------
    SourceError : missing, empty, bound to another dataset, or so many images gone that the source seems unmounted.
    StoreError : the store is foreign or newer.
    """
    started = time.monotonic()
    source = FolderSource(Location.of(spec.source))
    listing = list(_counted(source.listing(), progress))
    root = Location.of(spec.store)
    if not listing:
        raise SourceError(
            f"The source {source.root} holds no images (.jpg .jpeg .png .webp .bmp .gif .tif .tiff, at any depth), so there is nothing to "
            "extract. Check the path."
        )
    layout = source.layout((image.id for image in listing), spec.labels)
    dataset = FeatureStore.create(root).dataset(spec.dataset_name)
    dataset.bind(source)
    for _ in range(TRIES):
        manifest = dataset.manifest
        difference = manifest.compare(listing)
        _guard_against_mass_removal(difference, source, spec.max_removed_fraction)
        try:
            after = manifest if difference.is_empty else manifest.append(difference)
            break
        except FileExistsError:
            continue  # another scan appended the same batch number; compare with what it wrote
    else:
        raise RunError(f"Other scans of {dataset.name} kept appending first; start this one again when they are done.")
    labels_changed = _version_labels(dataset, after, layout, spec.split)
    return ScanReceipt(
        dataset=dataset.name,
        batch=None if difference.is_empty else len(after.batches) - 1,
        added=len(difference.added) - difference.changed,
        changed=difference.changed,
        removed=len(difference.removed) - difference.changed,
        unchanged=difference.unchanged,
        labels_changed=labels_changed,
        seconds=time.monotonic() - started,
    )


def _counted(listing: Iterable[Listed], progress: Progress) -> Iterator[Listed]:
    number = 0
    for number, image in enumerate(listing, 1):
        if number % LISTED_PER_STEP == 0:
            progress(Step("scan", number, None))
        yield image
    progress(Step("scan", number, number))


def _guard_against_mass_removal(difference: Difference, source: FolderSource, most: float) -> None:
    gone = len(difference.removed) - difference.changed
    live = difference.unchanged + len(difference.removed)
    if gone > most * live:
        raise SourceError(
            f"{gone} of {live} images are gone from {source.root}, more than {most:.0%}: is a disk or bucket not mounted? Nothing "
            "was marked. If they are meant to be gone, run again with --max-removed 1."
        )


def _version_labels(dataset: Dataset, manifest: Manifest, layout: Layout, spec: SplitSpec) -> bool:
    """Write the labels and splits that differ from the stored ones; a split, once assigned, stays."""
    table = manifest.images()
    table = table.filter([not gone for gone in table["removed"].to_pylist()])
    rows, ids = table["row"].to_pylist(), table["id"].to_pylist()
    labels, splits = dataset.labels.read(0, manifest.rows), dataset.splits.read(0, manifest.rows)
    relabelled = [(row, new) for row, id_ in zip(rows, ids, strict=True) if (new := layout.label(id_)) and new != labels[row]]
    assigned = [(row, layout.split(id_, spec)) for row, id_ in zip(rows, ids, strict=True) if splits[row] is None]
    changed = [dataset.labels.append(relabelled), dataset.splits.append(assigned)]
    return any(changed)
