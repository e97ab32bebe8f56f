"""Retry: quarantined images get new rows, and are extracted at once by each feature set's own recipe."""

from __future__ import annotations

from prefect import flow

from flows.parameters import AUTO, OneDataset, Reasons, Store, Where
from tasks.maintenance import retry_images
from tasks.stage import ended
from trunkline.wording import counted


@flow(name="retry-quarantine", flow_run_name="retry the quarantine of {store}", persist_result=False)
def retry_quarantine(
    store: Store, dataset: OneDataset = None, reasons: Reasons = (), cluster: Where = AUTO
) -> list[dict[str, object]]:
    """Read images again that could not be read, once their source was mended.

    Parameters
    ----------
    store : root of the feature store.
    dataset : only this one; all by default.
    reasons : only images with one of these, such as truncated or missing; all by default.
    cluster : where they are extracted.
    """
    done = retry_images(store, dataset, reasons, cluster)
    retried, stay = (sum(len(getattr(each, name)) for each in done) for name in ("retried", "stay"))
    words = f"{counted(retried, 'image')} tried again; {stay:,} stay in quarantine, as the source cannot give them."
    return ended([each.summary() for each in done], words, cached=not retried)
