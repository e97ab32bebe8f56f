"""Pinned: the mask and the heads that are there are used as they are, and only what was never fitted is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from trunkline import selection
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact
from trunkline.locations import Location
from trunkline.reader import open_features
from trunkline.reading.selection import Selection
from trunkline.specs import HeadSpec, RunSpec
from trunkline.stages.select import SelectReceipt, feature_set_of
from trunkline.store.feature_store import FeatureStore


@dataclass(frozen=True)
class PinnedHeads:
    """The spec's heads that were fitted before on this mask, in the spec's order; and those that never were."""

    heads: tuple[HeadArtifact, ...]
    missing: tuple[HeadSpec, ...]


def pinned_heads(spec: RunSpec, selected: SelectReceipt) -> PinnedHeads:
    """For each head of the spec the one that was fitted last, whatever images have come since.

    Raises
    ------
    StoreError : nothing was extracted yet.
    CorruptStore : a head is damaged.
    """
    features = feature_set_of(spec)
    folder = FeatureStore.open(Location.of(spec.store)).beside("heads", features.feature_set)
    known = [found for name in folder.names() if (found := artifact.load(folder / name))]
    heads: list[HeadArtifact] = []
    missing: list[HeadSpec] = []
    for head in spec.heads:
        same = [each for each in known if _is_asked(each, head, spec, selected.digest)]
        if same:
            heads.append(max(same, key=lambda each: (each.fitted_at, each.training_rows)))
        else:
            missing.append(head)
    return PinnedHeads(tuple(heads), tuple(missing))


def batches_since(feature_set: str, mask: str) -> Sequence[int]:
    """The batches that came after a mask was fitted and have images with features; the newest first.

    Parameters
    ----------
    feature_set, mask : their URIs.
    """
    features = open_features(feature_set)
    stop = selection.load(Location(mask)).stop
    later = [number for number, (start, _, _) in enumerate(features.snapshot.batches) if start >= stop]
    return [number for number in reversed(later) if len(Selection(batch=number).rows_of(features.snapshot))]


def _is_asked(known: HeadArtifact, head: HeadSpec, spec: RunSpec, mask: str) -> bool:
    """Whether it was fitted as the spec says, but perhaps on other rows. Optional fields that it does not know yet are at their default."""
    origin = known.origin
    if (known.kind, known.target.kind, origin.mask_digest, origin.seed) != (head.kind, spec.target.kind, mask, spec.seed):
        return False
    try:
        return type(head).model_validate(origin.spec).digest() == head.digest()
    except ValidationError:
        return False  # of another version
