"""The scan as a task."""

from prefect import get_run_logger

from tasks.stage import ended, stage
from trunkline.specs import RunSpec
from trunkline.stages.scan import ScanReceipt, scan


@stage("scan", "scan {spec.source}")
def scan_source(spec: RunSpec) -> ScanReceipt:
    """Source → manifest."""
    receipt = scan(spec)
    words = (
        f"{receipt.dataset}: {receipt.added} new, {receipt.changed} changed, {receipt.renamed} renamed, {receipt.removed} removed, "
        f"{receipt.unchanged} unchanged"
    )
    get_run_logger().info(words)
    return ended(receipt, words, cached=receipt.batch is None and not receipt.labels_changed)
