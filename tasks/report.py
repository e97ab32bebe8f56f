"""The report as a task, and the summary that stands in the UI."""

from collections.abc import Mapping
from typing import Any

from tasks.publishing import link, markdown
from tasks.stage import ended, stage
from trunkline.locations import Location
from trunkline.report.address import address_of
from trunkline.specs import RunSpec
from trunkline.stages.extract import ExtractReceipt
from trunkline.stages.fit import FitReceipt
from trunkline.stages.report import ReportReceipt, report
from trunkline.stages.run import RunReceipt, record, stage_seconds
from trunkline.stages.scan import ScanReceipt
from trunkline.stages.select import SelectReceipt


@stage("report", "write the report")
def write_report(
    spec: RunSpec, run_id: str, scanned: ScanReceipt, extracted: ExtractReceipt, selected: SelectReceipt, fitted: FitReceipt
) -> ReportReceipt:
    """Everything → report.html, metrics.json and a Markdown artifact."""
    seconds = stage_seconds(scanned, extracted, selected, fitted)
    reported = report(spec, run_id, extracted, selected, fitted, seconds)
    receipt = RunReceipt(run_id, scanned, extracted, selected, fitted, reported)
    record(spec, receipt)
    address = address_of(Location(reported.report))
    markdown("summary", _markdown(receipt.summary(), address), f"Run {run_id}")
    if address:
        link(
            "report",
            address,
            "report.html",
            f"The report of {scanned.dataset}: quarantine, filter, heads and the map of images",
        )
    words = "nothing has changed, so the report of an earlier run holds" if reported.cached else "written"
    return ended(reported, f"{words}: {reported.report}", cached=reported.cached)


def _markdown(summary: Mapping[str, Any], address: str | None) -> str:
    features = summary["features"]
    speed = summary["images_per_second"]
    lines = [
        f"# {summary['dataset']}",
        "",
        "| | |",
        "|---|---|",
        f"| images | {summary['rows']:,} |",
        f"| ok | {summary['ok']:,} |",
        f"| quarantined | {summary['quarantined']:,} {_reasons(summary['reasons'])} |",
        f"| extracted now | {summary['extracted']:,}" + (f" at {speed:,.0f} images/s |" if speed else " |"),
        f"| from earlier runs | {summary['reused']:,} |",
        f"| features kept | {features['kept']:,} of {features['dim']:,} ({features['layer']}) |",
        *(f"| {head['measure']} of {head['kind']} | {_score(head)} |" for head in summary["heads"]),
        "",
        *(f"> {note}" for note in summary["notes"]),
        "",
        f"Features: `{summary['feature_set']}`  ",
        f"Report: [`{summary['report']}`]({address})" if address else f"Report: `{summary['report']}`",
    ]
    return "\n".join(lines)


def _score(head: Mapping[str, Any]) -> str:
    return "–" if head["score"] is None else f"{head['score']:.4f}"


def _reasons(reasons: Mapping[str, int]) -> str:
    return "(" + ", ".join(f"{count} {reason}" for reason, count in reasons.items()) + ")" if reasons else ""
