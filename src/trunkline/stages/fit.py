"""Fit: masked features and labels → heads. A head whose inputs did not change is not fitted again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from trunkline import selection
from trunkline.clusters import Cluster
from trunkline.errors import DataError
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.specs import RunSpec
from trunkline.stages.curves import Curves, curves, stored_curves
from trunkline.stages.fitting import Fitting
from trunkline.stages.labelled import labelled, notes_of, why_no_head
from trunkline.stages.select import feature_set_of, masks_of
from trunkline.stages.watched import watched
from trunkline.store.lease import Lease, hold


@dataclass(frozen=True)
class FitReceipt:
    """The heads, in the spec's order; `fitted` of them now, the others before. `notes` say what a reader must know."""

    heads: Sequence[HeadArtifact]
    fitted: int
    notes: Sequence[str]
    seconds: float
    curves: Curves = field(default_factory=Curves)

    def in_words(self) -> str:
        return f"{len(self.heads)} heads, {self.fitted} of them fitted now"


@watched("fit", FitReceipt.in_words)
def fit(spec: RunSpec, progress: Progress = silent, only_stored: bool = False, cluster: Cluster | None = None) -> FitReceipt:
    """Fit each head on the training split and measure it on the test split; with `only_stored`, leave out those not fitted before.

    Parameters
    ----------
    cluster : whose workers share the work where there is much; this process alone by default.

    Raises
    ------
    StoreError : nothing was extracted yet.
    LeaseHeld : another run fits heads of this feature set.
    DataError : no mask yet, labels that are no numbers where numbers are asked for, or a fit that diverged.
    """
    started = time.monotonic()
    features = feature_set_of(spec)
    if spec.labels == "none" or not features.classes:
        why = "Labels were not asked for" if spec.labels == "none" else "The source has no class folders"
        return FitReceipt((), 0, (f"{why}, so no head was fitted.",), time.monotonic() - started)
    mask = selection.load_latest(masks_of(spec, features))
    if mask is None:
        raise DataError(f"{features.uri} has no mask under this rule yet. Run `trunkline select` first.")
    data = labelled(features, spec.target)
    why = why_no_head(data)
    if why:
        return FitReceipt((), 0, (f"{why}, so no head was fitted.",), time.monotonic() - started)
    fitting = Fitting(spec, features, mask, data, progress, cluster)
    heads, fitted = [], 0
    with contextlib.nullcontext() if only_stored or _is_done(fitting) else _alone(features, progress):
        for number, head in enumerate(spec.heads):
            progress(Step("fit", number, len(spec.heads), head.kind))
            found = artifact.load(fitting.place_of(head))
            if found is None and not only_stored:
                found = fitting.fit(head)
                fitted += 1
            if found is not None:
                heads.append(found)
        found_curves = curves(fitting, only_stored)
    progress(Step("fit", len(spec.heads), len(spec.heads)))
    notes = [*notes_of(data), *(f"{head.kind}: {note}" for head in heads for note in head.notes)]
    return FitReceipt(heads, fitted, notes, time.monotonic() - started, found_curves)


def _is_done(fitting: Fitting) -> bool:
    fitted = all((fitting.place_of(head) / "head.json").exists() for head in fitting.spec.heads)
    return fitted and stored_curves(fitting) is not None


def _alone(features: Features, progress: Progress) -> contextlib.AbstractContextManager[Lease]:
    """One run at a time fits heads of a feature set: another one that asks for the same finds them done."""

    def waiting(held: Lease) -> None:
        progress(Step("fit", 0, None, f"waiting for lease {held.number} of process {held.pid} on {held.host}"))

    return hold(features.feature_set.leases / "heads", waiting=waiting)
