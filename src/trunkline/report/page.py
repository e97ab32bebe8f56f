"""The report as one HTML document: what the figures say in words, and the templates that lay them out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup

from trunkline.metrics import Metrics, RegressionMetrics
from trunkline.report import charts, heads
from trunkline.report.data import HeadResult, Quarantined, ReportData
from trunkline.report.templates import environment, policy
from trunkline.report.verdict import tiles, verdict
from trunkline.report.words import share

MOST_QUARANTINED = 200
MOST_LISTED = 1_000  # classes or labels
WORK = {
    "read": "reading from the source",
    "decode": "decoding and resizing",
    "forward": "the forward pass",
    "write": "writing to the store",
}


def render(data: ReportData) -> str:
    """Lay a report out as one self-contained HTML document.

    Parameters
    ----------
    data : ReportData
        All figures and texts; every string is escaped, whatever it holds.

    Returns
    -------
    str
        HTML without external references; the same data gives the same text. Where the 2-D view has pictures, one small script of ours
        shows them, and the page's own policy lets no other run; without scripts all else is there.
    """
    view = charts.cloud(data.points, data.point_labels, data.pictures)
    script = script_of_the_map() if view and view.hits else Markup("")
    page = (
        environment()
        .get_template("page.html.j2")
        .render(
            data=data,
            verdict=verdict(data),
            tiles=tiles(data),
            policy=policy(script),
            script=script,
            **_of_images(data),
            **_of_features(data),
            **_of_heads(heads.best_first(data.heads)),
            learning=charts.learning_curve(data.learning, data.learning_score or "score"),
            drift=charts.drift_bars(data.drift, data.drift_threshold),
            cloud=view,
            address=json.dumps(data.feature_set, ensure_ascii=False),
        )
    )
    return page.lstrip()


@cache
def script_of_the_map() -> Markup:
    return Markup(files("trunkline.report").joinpath("map.js").read_text(encoding="utf-8"))


def _of_images(data: ReportData) -> dict[str, Any]:
    return {
        "reasons": reasons(data.quarantine),
        "quarantined": max(data.counts.quarantined, len(data.quarantine)),
        "most_quarantined": MOST_QUARANTINED,
        "stages": timings(data.stage_seconds),
        "work": timings(data.work_seconds),
        "bottleneck": bottleneck(data.work_seconds),
    }


def _of_features(data: ReportData) -> dict[str, Any]:
    variances = np.zeros(0) if data.features is None else data.features.variances
    return {
        "histogram": None if data.features is None else charts.variance_histogram(data.features),
        "zeros": int((variances == 0).sum()),
        "unknown": int((~np.isfinite(variances)).sum()),
        "filter_curve": charts.filter_curve(data.filter_points, data.filter_score or "score"),
    }


def _of_heads(found: Sequence[HeadResult]) -> dict[str, Any]:
    columns = heads.columns_of(found)
    best = found[0] if found else None
    metrics = best.metrics if best else None
    of_classes = metrics if isinstance(metrics, Metrics) else None
    return {
        "heads": found,
        "columns": columns,
        "figures": [heads.figures_of(head, columns) for head in found],
        "floor": (floor := heads.floor_of(found)),
        "lines": [heads.line_of(head, floor) for head in found],
        "is_chosen": heads.is_chosen,
        "settings_of": heads.settings_of,
        "best": best,
        "targets": metrics.targets if metrics else "",
        "matrix": heads.matrix(of_classes.confusion) if of_classes else None,
        "confusions": heads.confusions(best.classes, of_classes.confusion) if best and of_classes else [],
        "weakest": heads.weakest_first(best) if best else [],
        "most_listed": MOST_LISTED,
        "reliability": charts.reliability(of_classes.reliability) if of_classes else None,
        "scatter": charts.truth_against_prediction(metrics.grid) if isinstance(metrics, RegressionMetrics) else None,
    }


def reasons(quarantine: Sequence[Quarantined]) -> list[tuple[str, int]]:
    """Count quarantined images by reason, most frequent first."""
    return Counter(item.reason for item in quarantine).most_common()


@dataclass(frozen=True)
class Timing:
    """Seconds of one stage or kind of work, and its share of them all."""

    name: str
    seconds: float
    share: float


def timings(seconds: Mapping[str, float]) -> list[Timing]:
    """Relate each duration to the sum of all."""
    total = sum(seconds.values()) or 1.0
    return [Timing(name, value, value / total) for name, value in seconds.items()]


def bottleneck(work_seconds: Mapping[str, float]) -> str:
    """Name the kind of work that took longest; empty where nothing was timed."""
    slowest = max(timings(work_seconds), key=lambda timing: timing.seconds, default=None)
    if slowest is None or slowest.seconds <= 0:
        return ""
    return f"The bottleneck is {WORK.get(slowest.name, slowest.name)}, with {share(slowest.share, 1)} of the work."
