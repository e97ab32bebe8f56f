"""The drift of every batch against the training images that a mask was fitted on, and what to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trunkline import drift
from trunkline.drift import BatchDrift, Reference
from trunkline.errors import CorruptStore
from trunkline.progress import Progress
from trunkline.reader import Features
from trunkline.selection import Mask
from trunkline.stages.batch_moments import BatchMoments, batch_moments, training_rows


@dataclass(frozen=True)
class Measured:
    """Drift of batches, what to say of it, and how many shards were read again for it."""

    drift: tuple[BatchDrift, ...] = ()
    notes: tuple[str, ...] = ()
    reread: int = 0


def measured(features: Features, mask: Mask, batches: Sequence[BatchMoments], limit: float) -> Measured:
    """Of these batches, at the first layer, the one that heads are fitted on; a batch without training images has none."""
    layer = next(iter(features.layers))
    chosen = mask.layers[layer]
    reread = sum(batch.reread for batch in batches)
    if chosen.means is None:
        return Measured(notes=(_no_means(mask),), reread=reread)
    reference = Reference(mask.rows, chosen.means, chosen.variances, chosen.kept)
    found = tuple(
        drift.batch_drift(batch.number, batch.layers[layer], reference, inside=batch.start < mask.stop, limit=limit)
        for batch in batches
        if batch.rows
    )
    return Measured(found, tuple(drift.warning(each, limit) for each in found if each.warned), reread)


def measured_since(features: Features, mask: Mask, limit: float, progress: Progress, only_stored: bool = False) -> Measured:
    """Against a mask that was pinned before.

    Shards without moments of just these training rows are read again in batches that came after the mask, or nowhere if
    `only_stored`. Damaged moments end in a note, for the mask holds all the same.
    """
    if mask.layers[next(iter(features.layers))].means is None:
        return Measured(notes=(_no_means(mask),))
    reread_from = features.snapshot.rows if only_stored else mask.stop
    try:
        batches = list(batch_moments(features, training_rows(features), reread_from, progress))
    except CorruptStore as error:
        return Measured(notes=(f"Drift was not measured: {error}",))
    return measured(features, mask, batches, limit)


def _no_means(mask: Mask) -> str:
    return (
        f"Drift was not measured: the mask {mask.location} was fitted by an older trunkline, which did not keep the means. "
        "`trunkline select --refit` does."
    )
