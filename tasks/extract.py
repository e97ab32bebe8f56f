"""The extraction as a task: one task run, however many shards Dask works through."""

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from tasks.stage import STAGE, ProgressArtifact
from trunkline.clusters import Cluster
from trunkline.specs import RunSpec
from trunkline.stages.extract import ExtractReceipt, extract


@task(name="extract", task_run_name="extract {spec.backbone}", **STAGE)
def extract_features(spec: RunSpec) -> ExtractReceipt:
    """Manifest → features, on the spec's cluster."""
    with Cluster(spec.cluster) as cluster:
        receipt = extract(spec, cluster, ProgressArtifact("extraction"))
    counts = receipt.counts
    done = f"{receipt.extracted:,} extracted" if receipt.extracted else "nothing to extract, all is committed"
    get_run_logger().info("%s; %d ok, %d quarantined, %d pending", done, counts.ok, counts.quarantined, counts.pending)
    if receipt.reasons:
        table = [{"reason": reason, "images": count} for reason, count in receipt.reasons.items()]
        create_table_artifact(table, key="quarantine", description="Images that could not be read")
    return receipt
