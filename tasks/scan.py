"""The scan as a task."""

from prefect import get_run_logger, task

from tasks.stage import STAGE
from trunkline.specs import RunSpec
from trunkline.stages.scan import ScanReceipt, scan


@task(name="scan", task_run_name="scan {spec.source}", **STAGE)
def scan_source(spec: RunSpec) -> ScanReceipt:
    """Source → manifest."""
    receipt = scan(spec)
    get_run_logger().info(
        "%s: %d new, %d changed, %d renamed, %d removed, %d unchanged",
        receipt.dataset,
        receipt.added,
        receipt.changed,
        receipt.renamed,
        receipt.removed,
        receipt.unchanged,
    )
    return receipt
