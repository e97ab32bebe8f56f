"""The variance filter as a task."""

from prefect import get_run_logger, task

from tasks.stage import STAGE
from trunkline.clusters import Cluster
from trunkline.specs import RunSpec
from trunkline.stages.select import SelectReceipt, select


@task(name="select", task_run_name="select features", **STAGE)
def select_features(spec: RunSpec, refit: bool = False) -> SelectReceipt:
    """Moments → mask; a mask that is pinned stays unless `refit`. Workers are started only to compare features that take long to read."""
    with Cluster(spec.cluster) as cluster:
        receipt = select(spec, refit, cluster=cluster)
    how = "pinned before" if receipt.cached else "fitted now"
    get_run_logger().info("%d of %d features kept (%s)", receipt.kept, receipt.dim, how)
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
    return receipt
