"""The pipeline: scan → extract → select → fit → report. Run it again to resume it: the store knows what is done."""

from __future__ import annotations

from prefect import flow, runtime

from tasks.extract import extract_features
from tasks.fit import fit_heads
from tasks.report import write_report
from tasks.scan import scan_source
from tasks.select import select_features
from trunkline.backbones.resolution import resolve
from trunkline.specs import RunSpec
from trunkline.stages.run import RunReceipt
from trunkline.stages.watched import new_run_id, watched_run


def _run_name() -> str:
    spec = RunSpec.model_validate(runtime.flow_run.parameters["spec"])
    return f"{spec.dataset_name} through {spec.backbone}" + (f" at {', '.join(spec.layers)}" if spec.layers else "")


@flow(name="trunkline", flow_run_name=_run_name, persist_result=False)
def pipeline(spec: RunSpec) -> RunReceipt:
    """Turn a folder of images into features, a mask, heads and a report.

    Parameters
    ----------
    spec : source and store, and anything else that shall differ from the defaults.
    """
    resolve(spec)  # an unknown backbone is refused before anything is written
    run_id = new_run_id()
    with watched_run(spec.dataset_name, run_id):
        scanned = scan_source(spec)
        extracted = extract_features(spec)
        selected = select_features(spec)
        fitted = fit_heads(spec)
        reported = write_report(spec, run_id, scanned, extracted, selected, fitted)
    return RunReceipt(run_id, scanned, extracted, selected, fitted, reported)
