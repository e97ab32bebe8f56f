"""Names of flow runs: what, and how much of it."""

from __future__ import annotations

from typing import Any

from prefect import runtime
from pydantic import ValidationError

from trunkline.specs import RunSpec
from trunkline.stages.extract import ExtractReceipt
from trunkline.stages.scan import ScanReceipt


def planned_name() -> str:
    """Of a run that starts: its dataset and backbone; parameters that do not validate are named by what they say of the source."""
    said: Any = (runtime.flow_run.parameters or {}).get("spec")
    try:
        spec = said if isinstance(said, RunSpec) else RunSpec.model_validate(said)
    except ValidationError:
        return f"{said.get('source') or 'no source'} (refused)" if isinstance(said, dict) else "refused"
    return through(spec)


def through(spec: RunSpec) -> str:
    """Which dataset, and what it goes through."""
    return f"{spec.dataset_name} through {spec.backbone}" + (f" at {', '.join(spec.layers)}" if spec.layers else "")


def known_name(spec: RunSpec, scanned: ScanReceipt) -> str:
    """Once the source was scanned: how many images are new, and how many there are."""
    fresh = scanned.added + scanned.changed + scanned.renamed
    return f"{through(spec)}: {fresh:,} new of {fresh + scanned.unchanged:,} images"


def nothing_new(scanned: ScanReceipt, extracted: ExtractReceipt) -> bool:
    """Whether a run found everything as it was."""
    return scanned.batch is None and not scanned.labels_changed and not extracted.extracted


def done_name(spec: RunSpec, scanned: ScanReceipt, extracted: ExtractReceipt) -> str:
    """At the end: how many images were extracted, and how many there are."""
    if nothing_new(scanned, extracted):
        return f"{through(spec)}: nothing new, {extracted.counts.live:,} images"
    return f"{through(spec)}: {extracted.extracted:,} extracted of {extracted.counts.live:,} images"
