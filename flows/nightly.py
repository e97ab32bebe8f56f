"""The nightly: scan → extract the difference → pinned mask and heads over the new batches → report. Nothing is refitted unasked."""

from __future__ import annotations

from prefect import flow, get_run_logger, runtime

from flows.naming import done_name, known_name, nothing_new, planned_name
from tasks.extract import extract_features
from tasks.fit import heads_as_fitted
from tasks.predict import predict_committed
from tasks.publishing import rename_run
from tasks.report import write_report
from tasks.scan import scan_source
from tasks.select import select_features
from tasks.stage import ended
from trunkline.backbones.resolution import resolve
from trunkline.specs import RunSpec
from trunkline.stages.arrivals import Arrival, spec_of
from trunkline.stages.fit import FitReceipt
from trunkline.stages.pinned import batches_since
from trunkline.stages.run import RunReceipt
from trunkline.stages.select import SelectReceipt
from trunkline.stages.watched import new_run_id, watched_run


def _name() -> str:
    arrived = (runtime.flow_run.parameters or {}).get("arrived")
    source = arrived.get("source") if isinstance(arrived, dict) else getattr(arrived, "source", None)
    return f"arrived: {source}" if arrived else planned_name()


@flow(name="nightly", flow_run_name=_name, persist_result=False)
def nightly(spec: RunSpec, arrived: Arrival | None = None) -> RunReceipt:
    """Bring a dataset up to date: extract what is new, and predict it with the heads that were fitted before.

    The first night fits mask and heads; later ones keep them, and warn of batches that have drifted.

    Parameters
    ----------
    spec : what to read, where to write, and how. Only source and store have no default.
    arrived : of runs that an event starts: where images have arrived, in place of the spec's source.
    """
    if arrived is not None:
        spec = spec_of(spec, arrived)
    resolve(spec)
    run_id = new_run_id()
    with watched_run(spec.dataset_name, run_id):
        scanned = scan_source(spec)
        rename_run(known_name(spec, scanned))
        extracted = extract_features(spec)
        selected = select_features(spec)
        fitted = heads_as_fitted(spec, selected)
        predicted = _predict(extracted.feature_set, selected, fitted)
        reported = write_report(spec, run_id, scanned, extracted, selected, fitted)
    rename_run(done_name(spec, scanned, extracted))
    receipt = RunReceipt(run_id, scanned, extracted, selected, fitted, reported)
    if nothing_new(scanned, extracted) and not predicted:
        return ended(receipt, f"Nothing new in {spec.source}; {extracted.counts.live:,} images are as they were.")
    return ended(receipt, f"{extracted.extracted:,} images extracted, {predicted:,} predictions made.")


def _predict(feature_set: str, selected: SelectReceipt, fitted: FitReceipt) -> int:
    """Each head over each batch since the mask, back to the first that it predicted before; how many rows were predicted now."""
    rows = 0
    batches = batches_since(feature_set, selected.mask) if fitted.heads else []
    for head in fitted.heads:
        for batch in batches:
            receipt = predict_committed(feature_set, head.name, batch=batch)
            if receipt.cached:
                break
            rows += receipt.rows
    if fitted.heads and not batches:
        get_run_logger().info("No batch has come since the mask was fitted, so there is nothing to predict")
    return rows
