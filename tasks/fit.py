"""The heads as a task."""

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from tasks.stage import STAGE, ProgressArtifact
from trunkline.clusters import Cluster
from trunkline.specs import RunSpec
from trunkline.stages.fit import FitReceipt, fit


@task(name="fit", task_run_name="fit heads", **STAGE)
def fit_heads(spec: RunSpec) -> FitReceipt:
    """Masked features → heads; those whose inputs did not change are not fitted again."""
    with Cluster(spec.cluster) as cluster:
        receipt = fit(spec, ProgressArtifact("heads-progress"), cluster=cluster)
    get_run_logger().info("%d heads, %d of them fitted now", len(receipt.heads), receipt.fitted)
    for note in receipt.notes:
        get_run_logger().warning(note)
    if receipt.heads:
        said = [(head.kind, head.metrics.summary()) for head in receipt.heads]
        rows = [{"head": kind, "measure": figures["measure"], "score": figures["score"]} for kind, figures in said]
        create_table_artifact(rows, key="heads", description="Heads on the test split")
    return receipt
