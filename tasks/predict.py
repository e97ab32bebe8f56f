"""Predicting committed rows as a task."""

from prefect import get_run_logger, runtime

from tasks.publishing import ProgressArtifact, table
from tasks.stage import ended, stage
from trunkline.stages.predict import PredictReceipt, predict_rows

SHOWN = 100  # answers, the most frequent first


def _name() -> str:
    said = runtime.task_run.parameters
    batch = f" on batch {said['batch']}" if said.get("batch") is not None else ""
    return f"predict with {said['head']}{batch}"


@stage("predict", _name)
def predict_committed(
    store: str, head: str, dataset: str | None = None, split: str | None = None, batch: int | None = None
) -> PredictReceipt:
    """A fitted head over stored features, of a night's batch for example; the same rows again are read from the store."""
    receipt = predict_rows(store, head, dataset=dataset, split=split, batch=batch, progress=ProgressArtifact("predict"))
    how = "predicted before" if receipt.cached else "predicted now"
    get_run_logger().info("%d rows by %s (%s): %s", receipt.rows, receipt.head, how, receipt.predictions)
    most = sorted(receipt.counts.items(), key=lambda item: -item[1])[:SHOWN]
    rows = [{"answer": name, "rows": count} for name, count in most]
    table("predictions", rows, f"{receipt.rows:,} rows by {receipt.head}")
    return ended(receipt, f"{receipt.rows:,} rows {how}", cached=receipt.cached)
