"""Run: all stages in order, and the summary that every way of starting them prints."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from trunkline.backbones.resolution import resolve
from trunkline.clusters import Cluster
from trunkline.locations import Location
from trunkline.progress import Progress, silent
from trunkline.specs import RunSpec
from trunkline.stages.extract import ExtractReceipt, extract
from trunkline.stages.fit import FitReceipt, fit
from trunkline.stages.report import ReportReceipt, report
from trunkline.stages.scan import ScanReceipt, scan
from trunkline.stages.select import SelectReceipt, select
from trunkline.stages.watched import new_run_id as new_run_id
from trunkline.stages.watched import watched_run
from trunkline.store.feature_store import FeatureStore


@dataclass(frozen=True)
class RunReceipt:
    """The receipts of all stages."""

    run_id: str
    scanned: ScanReceipt
    extracted: ExtractReceipt
    selected: SelectReceipt
    fitted: FitReceipt
    reported: ReportReceipt

    @property
    def seconds(self) -> dict[str, float]:
        return stage_seconds(self.scanned, self.extracted, self.selected, self.fitted)

    def summary(self) -> dict[str, Any]:
        """What `--json` prints; `rows` are live ones: `ok + quarantined + pending`."""
        counts = self.extracted.counts
        return {
            "run": self.run_id,
            "dataset": self.scanned.dataset,
            "rows": counts.live,
            "ok": counts.ok,
            "quarantined": counts.quarantined,
            "pending": counts.pending,
            "removed": counts.removed,
            "reasons": dict(self.extracted.reasons),
            "extracted": self.extracted.extracted,
            "reused": self.extracted.reused,
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
            "images_per_second": self.extracted.images_per_second and round(self.extracted.images_per_second, 1),
            "engine": self.extracted.engine and vars(self.extracted.engine),
            "effects": [vars(effect) for effect in self.extracted.effects],
            "features": {
                "layer": self.selected.layer,
                "dim": self.selected.dim,
                "kept": self.selected.kept,
                "dtype": self.extracted.dtype,
            },
            "heads": [{"kind": head.kind, **head.metrics.summary()} for head in self.fitted.heads],
            "drift": [asdict(batch) for batch in self.selected.drift],
            "notes": [*self.selected.notes, *self.fitted.notes],
            "feature_set": self.extracted.feature_set,
            "report": self.reported.report,
        }


def run(spec: RunSpec, cluster: Cluster, progress: Progress = silent) -> RunReceipt:
    """All stages over one store. Raises what the stages raise; starting it again resumes it."""
    resolve(spec)  # an unknown backbone is refused before anything is written
    run_id = new_run_id()
    with watched_run(spec.dataset_name, run_id):
        scanned = scan(spec, progress)
        extracted = extract(spec, cluster, progress)
        selected = select(spec, progress=progress, cluster=cluster)
        fitted = fit(spec, progress, cluster=cluster)
        seconds = stage_seconds(scanned, extracted, selected, fitted)
        reported = report(spec, run_id, extracted, selected, fitted, seconds, progress)
        receipt = RunReceipt(run_id, scanned, extracted, selected, fitted, reported)
        record(spec, receipt)
    return receipt


def record(spec: RunSpec, receipt: RunReceipt) -> None:
    """Write `runs/<run-id>/metrics.json`: the spec and the summary."""
    place = FeatureStore.open(Location.of(spec.store)).runs / f"{receipt.run_id}/metrics.json"
    place.write(json.dumps({"spec": spec.model_dump(mode="json"), **receipt.summary()}, indent=2).encode())


def stage_seconds(
    scanned: ScanReceipt, extracted: ExtractReceipt, selected: SelectReceipt, fitted: FitReceipt
) -> dict[str, float]:
    return {"scan": scanned.seconds, "extract": extracted.seconds, "select": selected.seconds, "fit": fitted.seconds}
