"""The pipeline: scan → extract → select → fit → report. Run it again to resume it: the store knows what is done."""

from __future__ import annotations

from prefect import flow

from flows.naming import done_name, known_name, planned_name
from flows.parameters import Refit
from tasks.extract import extract_features
from tasks.fit import fit_heads
from tasks.publishing import rename_run
from tasks.report import write_report
from tasks.scan import scan_source
from tasks.select import select_features
from tasks.stage import ended
from trunkline.backbones.resolution import resolve
from trunkline.specs import RunSpec
from trunkline.stages.run import RunReceipt
from trunkline.stages.watched import new_run_id, watched_run


@flow(name="pipeline", flow_run_name=planned_name, persist_result=False)
def pipeline(spec: RunSpec, refit: Refit = False) -> RunReceipt:
    """Turn a folder of images into features, a mask, heads and a report.

    Parameters
    ----------
    spec : what to read, where to write, and how. Only source and store have no default.
    refit : fit a new mask, though one is pinned; the heads follow. Nothing is extracted again.
    """
    resolve(spec)  # an unknown backbone is refused before anything is written
    run_id = new_run_id()
    with watched_run(spec.dataset_name, run_id):
        scanned = scan_source(spec)
        rename_run(known_name(spec, scanned))
        extracted = extract_features(spec)
        selected = select_features(spec, refit)
        fitted = fit_heads(spec)
        reported = write_report(spec, run_id, scanned, extracted, selected, fitted)
    rename_run(done_name(spec, scanned, extracted))
    receipt = RunReceipt(run_id, scanned, extracted, selected, fitted, reported)
    return ended(receipt, f"{extracted.extracted:,} of {extracted.counts.live:,} images extracted; {reported.report}")
