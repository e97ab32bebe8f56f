"""Select: moments → mask. No feature is read again unless labels, splits or removals changed which rows train."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline import moments, selection
from trunkline.backbones.resolution import resolve
from trunkline.blocks import Status
from trunkline.errors import DataError
from trunkline.locations import Location
from trunkline.moments import Moments
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.selection import Mask
from trunkline.shards import Shard
from trunkline.specs import RunSpec
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore


@dataclass(frozen=True)
class SelectReceipt:
    """The mask in force: `cached` where it was pinned before; `reread` shards whose moments had to be computed from features."""

    mask: str
    digest: str
    layer: str
    dim: int
    kept: int
    threshold: float
    training_rows: int
    cached: bool
    reread: int
    seconds: float


def feature_set_of(spec: RunSpec) -> Features:
    """The feature set that a spec names. Raises StoreError where it does not exist yet."""
    store = FeatureStore.open(Location.of(spec.store))
    return Features(FeatureSet.open(store.feature_set_location(spec.dataset_name, resolve(spec))))


def masks_of(spec: RunSpec, features: Features) -> Location:
    """Where the masks under this rule lie."""
    store = FeatureStore.open(Location.of(spec.store))
    return store.beside("masks", features.feature_set) / spec.select.digest()


def select(spec: RunSpec, refit: bool = False, progress: Progress = silent) -> SelectReceipt:
    """Fit the variance filter on the training rows, or return the pinned mask.

    Raises
    ------
    StoreError : nothing was extracted yet.
    DataError : rows are pending, no training row, or nothing would be left.
    """
    started = time.monotonic()
    features = feature_set_of(spec)
    folder = masks_of(spec, features)
    mask = None if refit else selection.load_latest(folder)
    cached, reread = mask is not None, 0
    if mask is None:
        _refuse_pending(features)
        merged, reread = _training_moments(features, progress)
        layers = {layer: selection.fit_layer(each, spec.select, layer) for layer, each in merged.items()}
        mask = selection.create(folder, next(iter(merged.values())).count, layers)
    return _receipt(features, mask, cached, reread, time.monotonic() - started)


def selected_before(spec: RunSpec) -> SelectReceipt | None:
    """The pinned mask, where there is one."""
    features = feature_set_of(spec)
    mask = selection.load_latest(masks_of(spec, features))
    return _receipt(features, mask, True, 0, 0.0) if mask else None


def _receipt(features: Features, mask: Mask, cached: bool, reread: int, seconds: float) -> SelectReceipt:
    layer = next(iter(features.layers))
    chosen = mask.layers[layer]
    return SelectReceipt(
        mask=mask.location.uri,
        digest=mask.digest,
        layer=layer,
        dim=len(chosen.kept),
        kept=int(chosen.kept.sum()),
        threshold=chosen.threshold,
        training_rows=mask.rows,
        cached=cached,
        reread=reread,
        seconds=seconds,
    )


def _refuse_pending(features: Features) -> None:
    pending = int((np.asarray(features.index()["status"]) == Status.PENDING).sum())
    if pending:
        raise DataError(
            f"{pending} images of {features.uri} are not extracted yet; a mask of the rest would be pinned. Run `trunkline extract` first."
        )


def _training_moments(features: Features, progress: Progress) -> tuple[dict[str, Moments], int]:
    """Merged over shards in row order, layer by layer; and how many shards were read again."""
    parts: list[dict[str, Moments]] = []
    reread = 0
    shards = features.shards()
    for number, (shard, rows) in enumerate(_training_rows(features, shards), 1):
        place = moments.place(features.feature_set.moments, shard.name, rows)
        try:
            part = moments.load(place, features.layers)
        except FileNotFoundError:
            part = {layer: Moments.of(features.read(rows, layer)) for layer in features.layers}
            moments.save(place, part)
            reread += 1
        parts.append(part)
        progress(Step("select", number, len(shards)))
    if not parts:
        raise DataError(f"{features.uri} holds no features yet. Run `trunkline extract` first.")
    return {layer: moments.merged(part[layer] for part in parts) for layer in features.layers}, reread


def _training_rows(features: Features, shards: list[Shard]) -> Iterator[tuple[Shard, NDArray[np.int64]]]:
    splits = set(features.index()["split"].to_pylist())
    rows = features.rows("train") if "train" in splits else np.empty(0, np.int64)
    for shard in shards:
        first, last = np.searchsorted(rows, (shard.start, shard.stop))
        yield shard, rows[first:last]
