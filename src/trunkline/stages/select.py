"""Select: moments → mask. Features are read again only where labels, splits or removals changed which rows train, and for duplicates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trunkline import gram, selection
from trunkline.backbones.resolution import resolve
from trunkline.clusters import Cluster
from trunkline.drift import BatchDrift
from trunkline.errors import CorruptStore, DataError
from trunkline.locations import Location
from trunkline.progress import Progress, silent
from trunkline.reader import Features
from trunkline.reading import masks
from trunkline.reading.snapshot import PENDING
from trunkline.selection import Mask, Move
from trunkline.specs import RunSpec, SelectSpec
from trunkline.stages.batch_moments import batch_moments, merged, training_rows
from trunkline.stages.drifts import Measured, measured, measured_since
from trunkline.stages.duplicates import DuplicateSearch
from trunkline.stages.watched import watched
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore
from trunkline.variance_filter import fit_layer


@dataclass(frozen=True)
class SelectReceipt:
    """The mask in force, its numbers those of the first layer.

    Parameters
    ----------
    cached : whether it was pinned before.
    reread : shards whose moments had to be computed from features.
    dropped : features that went, by reason.
    moved : how a refitted mask differs from the one before.
    drift : of each batch with training images, as far as moments are stored.
    notes : what a reader must know: batches that have drifted.
    """

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
    dropped: Mapping[str, int] = field(default_factory=dict)
    moved: Move | None = None
    drift: tuple[BatchDrift, ...] = ()
    notes: tuple[str, ...] = ()

    def in_words(self) -> str:
        return f"{self.kept:,} of {self.dim:,} features kept, {'pinned before' if self.cached else 'fitted now'}"


def feature_set_of(spec: RunSpec) -> Features:
    """The feature set that a spec names. Raises StoreError where it does not exist yet."""
    store = FeatureStore.open(Location.of(spec.store))
    return Features(FeatureSet.open(store.feature_set_location(spec.dataset_name, resolve(spec))))


def masks_of(spec: RunSpec, features: Features) -> Location:
    """Where the masks under this rule lie."""
    store = FeatureStore.open(Location.of(spec.store))
    return store.beside("masks", features.feature_set) / spec.select.digest()


@watched("select", SelectReceipt.in_words)
def select(spec: RunSpec, refit: bool = False, progress: Progress = silent, cluster: Cluster | None = None) -> SelectReceipt:
    """Fit the variance filter on the training rows, or return the pinned mask; and compare each batch with the rows it was fitted on.

    Parameters
    ----------
    refit : fit a new mask though one is pinned.
    cluster : whose workers share the search for duplicates where there is much to read; this process alone by default.

    Raises
    ------
    StoreError : nothing was extracted yet.
    DataError : rows are pending, too few training rows, nothing would be left, or more features than can be compared.
    CorruptStore : a mask or moments are damaged.
    """
    features = feature_set_of(spec)
    return select_from(features, masks_of(spec, features), spec.select, spec.drift_warning, refit, progress, cluster)


def select_from(
    features: Features,
    folder: Location,
    rule: SelectSpec,
    drift_warning: float,
    refit: bool = False,
    progress: Progress = silent,
    cluster: Cluster | None = None,
) -> SelectReceipt:
    """`select` on an open feature set; `folder` is where the masks under this rule lie."""
    started = time.monotonic()
    if not refit and (pinned := _pinned(features, folder)):
        return _receipt(features, pinned, started, measured_since(features, pinned, drift_warning, progress))
    if rule.duplicates is not None:
        for layer, dim in features.layers.items():
            gram.refuse_too_wide(layer, dim)
    _refuse_pending(features)
    rows = training_rows(features)
    batches = list(batch_moments(features, rows, 0, progress))
    if not batches:
        raise DataError(f"{features.uri} holds no features yet. Run `trunkline extract` first.")
    together = merged(batches)
    layers = {layer: fit_layer(each, rule, layer) for layer, each in together.items()}
    if rule.duplicates is not None:
        search = DuplicateSearch(features, rows, rule.duplicates, cluster, progress)
        layers = search.without_duplicates(layers, together)
    count = next(iter(together.values())).count
    before, why = _before(features, folder)
    mask = selection.create(folder, count, layers, features.recipe.digest(), features.snapshot.rows)
    found = measured(features, mask, batches, drift_warning)
    return _receipt(features, mask, started, replace(found, notes=why + found.notes), fitted=True, before=before)


def selected_before(spec: RunSpec) -> SelectReceipt | None:
    """The pinned mask, where there is one, and the drift of the batches whose moments are stored; nothing is written."""
    started = time.monotonic()
    features = feature_set_of(spec)
    mask = _pinned(features, masks_of(spec, features))
    if mask is None:
        return None
    return _receipt(features, mask, started, measured_since(features, mask, spec.drift_warning, silent, only_stored=True))


def _before(features: Features, folder: Location) -> tuple[Mask | None, tuple[str, ...]]:
    """The mask that a new one takes the place of; a damaged or foreign one hinders nobody, and is said."""
    try:
        return _pinned(features, folder), ()
    except (CorruptStore, DataError) as error:
        return None, (f"How the mask moved is not known: {error}",)


def _pinned(features: Features, folder: Location) -> Mask | None:
    """Raises DataError for a mask that was put there from another feature set."""
    mask = selection.load_latest(folder)
    if mask is not None:
        for layer, width in features.layers.items():
            masks.kept(mask, layer, width, features.recipe)
    return mask


def _receipt(
    features: Features, mask: Mask, started: float, drifted: Measured, fitted: bool = False, before: Mask | None = None
) -> SelectReceipt:
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
        cached=not fitted,
        reread=drifted.reread,
        seconds=time.monotonic() - started,
        dropped=chosen.dropped,
        moved=selection.moved(before.layers[layer], chosen) if before is not None else None,
        drift=drifted.drift,
        notes=drifted.notes,
    )


def _refuse_pending(features: Features) -> None:
    pending = int((features.snapshot.statuses() == PENDING).sum())
    if pending:
        raise DataError(
            f"{pending} images of {features.uri} are not extracted yet; a mask of the rest would be pinned. Run `trunkline extract` first."
        )
