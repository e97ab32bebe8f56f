"""A dataset checked: what it is bound to, its manifest batch by batch, its versions of labels and splits. None of it can be made anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trunkline.errors import CorruptStore, StoreError
from trunkline.locations import Location
from trunkline.maintenance.findings import Finding, Severity
from trunkline.manifest import Batch, Manifest
from trunkline.shards import BLOCK
from trunkline.store.feature_store import Dataset
from trunkline.tables import open_parquet
from trunkline.versions import Versions

BACKUP = "restore it from a backup: nothing else knows which image had which row"


def check_dataset(dataset: Dataset) -> tuple[Manifest | None, list[Finding]]:
    """The manifest, None where it cannot be read, and what is wrong with the dataset."""
    findings = [*_source(dataset), *_versions(dataset.labels), *_versions(dataset.splits)]
    try:
        manifest = dataset.manifest
    except CorruptStore:
        return None, [*findings, *_unreadable_batches(dataset.location / "manifest")]
    findings += [finding for batch in manifest.batches for finding in _batch(batch)]
    findings += _order(manifest)
    broken = any(finding.what == "manifest" for finding in findings)
    return None if broken else manifest, findings


def _source(dataset: Dataset) -> Iterator[Finding]:
    try:
        dataset.source  # noqa: B018
    except StoreError as error:
        advice = f"restore source.json from a backup, or scan the same source again with --dataset {dataset.name}"
        yield Finding("source", dataset.location.uri, Severity.IRREPARABLE, str(error), advice)


def _versions(versions: Versions) -> Iterator[Finding]:
    for name in versions.names():
        place = versions.folder / name
        try:
            with open_parquet(place) as file:
                file.read(columns=["row", versions.column])
        except (CorruptStore, KeyError) as error:
            advice = (
                "restore it from a backup; or delete it and scan again: folders and tables give their labels and splits once more, what "
                "was corrected by hand in this version is lost"
            )
            yield Finding(f"{versions.column}s", place.uri, Severity.IRREPARABLE, str(error), advice)


def _unreadable_batches(folder: Location) -> Iterator[Finding]:
    """Why a manifest cannot be opened: the batches that cannot be read, or the gap between them."""
    names = [name for name in folder.names() if name.startswith("batch-")]
    found = False
    for name in names:
        try:
            with open_parquet(folder / name) as file:
                file.read()
        except CorruptStore as error:
            found = True
            yield Finding("manifest", (folder / name).uri, Severity.IRREPARABLE, str(error), BACKUP)
    if not found:
        detail = f"batches are missing or are not trunkline's; there are: {', '.join(names) or 'none'}"
        yield Finding("manifest", folder.uri, Severity.IRREPARABLE, detail, BACKUP)


def _batch(batch: Batch) -> Iterator[Finding]:
    """A batch read group by group: its rows are those that its header says."""
    expected, added = batch.start, batch.stop - batch.start
    groups = -(-added // BLOCK)
    try:
        with open_parquet(batch.location) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)["row"].to_numpy()
                if group < groups and not np.array_equal(rows, np.arange(expected, expected + len(rows))):
                    raise CorruptStore(f"row group {group} does not hold the rows from {expected} on")
                expected += len(rows) if group < groups else 0
        if expected != batch.stop:
            raise CorruptStore(f"it says {batch.stop - batch.start} images and holds {expected - batch.start}")
    except CorruptStore as error:
        yield Finding("manifest", batch.location.uri, Severity.IRREPARABLE, str(error), BACKUP)


def _order(manifest: Manifest) -> Iterator[Finding]:
    """Batches follow each other from block to block, and only rows that held an image were removed."""
    end = 0
    for batch in manifest.batches:
        if batch.start != -(-end // BLOCK) * BLOCK:
            detail = f"it starts at row {batch.start}, and the batches before it end at {end}"
            yield Finding("manifest", batch.location.uri, Severity.IRREPARABLE, detail, BACKUP)
        end = max(end, batch.stop)
    held = np.zeros(len(manifest.removed), bool)
    for start, stop in manifest.spans:
        held |= (manifest.removed >= start) & (manifest.removed < stop)
    if not held.all():
        detail = f"it removes {int((~held).sum())} rows that never held an image, the first {manifest.removed[~held][0]}"
        yield Finding("manifest", manifest.folder.uri, Severity.IRREPARABLE, detail, BACKUP)
