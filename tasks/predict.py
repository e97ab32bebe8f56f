"""Predicting committed rows as a task."""

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from tasks.stage import STAGE, ProgressArtifact
from trunkline.stages.predict import PredictReceipt, predict_rows


@task(name="predict", task_run_name="predict with {head}", **STAGE)
def predict_committed(
    store: str, head: str, dataset: str | None = None, split: str | None = None, batch: int | None = None
) -> PredictReceipt:
    """A fitted head over stored features, of a night's batch for example; the same rows again are read from the store."""
    receipt = predict_rows(store, head, dataset=dataset, split=split, batch=batch, progress=ProgressArtifact("predict"))
    how = "predicted before" if receipt.cached else "predicted now"
    get_run_logger().info("%d rows by %s (%s): %s", receipt.rows, receipt.head, how, receipt.predictions)
    if receipt.counts:
        rows = [{"answer": name, "rows": count} for name, count in receipt.counts.items()]
        create_table_artifact(rows, key="predictions", description=f"{receipt.rows:,} rows by {receipt.head}")
    return receipt
