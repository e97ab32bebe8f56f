"""The heads as tasks: fitted on what there is now, or as they were fitted before."""

import time
from collections.abc import Sequence

from prefect import get_run_logger

from tasks import tables
from tasks.publishing import ProgressArtifact, markdown, table
from tasks.stage import ended, stage
from trunkline.clusters import Cluster
from trunkline.heads.artifact import HeadArtifact
from trunkline.specs import RunSpec
from trunkline.stages.fit import FitReceipt, fit
from trunkline.stages.pinned import pinned_heads
from trunkline.stages.select import SelectReceipt


@stage("fit", "fit heads")
def fit_heads(spec: RunSpec) -> FitReceipt:
    """Masked features → heads; those whose inputs did not change are not fitted again."""
    with Cluster(spec.cluster) as cluster, ProgressArtifact("heads-progress") as progress:
        receipt = fit(spec, progress, cluster=cluster)
    return _told(receipt)


@stage("heads", "heads as fitted before")
def heads_as_fitted(spec: RunSpec, selected: SelectReceipt) -> FitReceipt:
    """The heads that were fitted last on this mask, whatever has come since; only those that never were are fitted now."""
    started = time.monotonic()
    pinned = pinned_heads(spec, selected)
    notes = [f"{head.kind}: {note}" for head in pinned.heads for note in head.notes]
    if not pinned.missing:
        return _told(FitReceipt(pinned.heads, 0, notes, time.monotonic() - started))
    missing = spec.model_copy(update={"heads": pinned.missing})
    with Cluster(spec.cluster) as cluster, ProgressArtifact("heads-progress") as progress:
        fitted = fit(missing, progress, cluster=cluster)
    heads = [*pinned.heads, *fitted.heads]
    if fitted.fitted:
        get_run_logger().info("Never fitted on this mask before: %s", ", ".join(head.kind for head in pinned.missing))
    return _told(FitReceipt(heads, fitted.fitted, [*notes, *fitted.notes], time.monotonic() - started, fitted.curves))


def _told(receipt: FitReceipt) -> FitReceipt:
    words = receipt.in_words()
    get_run_logger().info(words)
    for note in receipt.notes:
        get_run_logger().warning(note)
    _publish(receipt.heads)
    return ended(receipt, words, cached=not receipt.fitted)


def _publish(heads: Sequence[HeadArtifact]) -> None:
    table("heads", tables.heads(heads), "Heads on the test split")
    for head in heads:
        text = tables.confusion(head)
        if text:
            markdown(f"confusion-{head.kind}", text, f"Confusions of {head.kind} on the test split")
