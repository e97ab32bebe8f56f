"""The variance filter as a task."""

from prefect import get_run_logger

from tasks import tables
from tasks.publishing import table
from tasks.stage import ended, stage
from trunkline.clusters import Cluster
from trunkline.specs import RunSpec
from trunkline.stages.select import SelectReceipt, select


@stage("select", "select features")
def select_features(spec: RunSpec, refit: bool = False) -> SelectReceipt:
    """Moments → mask; a mask that is pinned stays unless `refit`. Workers are started only to compare features that take long to read."""
    with Cluster(spec.cluster) as cluster:
        receipt = select(spec, refit, cluster=cluster)
    how = "pinned before" if receipt.cached else "fitted now"
    words = f"{receipt.kept} of {receipt.dim} features kept ({how})"
    get_run_logger().info(words)
    if receipt.moved is not None:
        move = receipt.moved
        get_run_logger().info(
            "%d kept before, %d dropped now, %d added now; overlap %.4f",
            move.kept_before,
            move.dropped,
            move.added,
            move.overlap,
        )
    for note in receipt.notes:
        get_run_logger().warning(note)
    if len(receipt.drift) > 1:
        description = "How far each batch lies from the images that the mask was fitted on, in their standard deviations"
        table("drift", tables.drift(receipt.drift), description)
    return ended(receipt, words, cached=receipt.cached)
