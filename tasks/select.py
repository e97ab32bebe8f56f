"""The variance filter as a task."""

from prefect import get_run_logger, task

from tasks.stage import STAGE
from trunkline.specs import RunSpec
from trunkline.stages.select import SelectReceipt, select


@task(name="select", task_run_name="select features", **STAGE)
def select_features(spec: RunSpec) -> SelectReceipt:
    """Moments → mask; a mask that is pinned stays."""
    receipt = select(spec)
    how = "pinned before" if receipt.cached else "fitted now"
    get_run_logger().info("%d of %d features kept (%s)", receipt.kept, receipt.dim, how)
    return receipt
