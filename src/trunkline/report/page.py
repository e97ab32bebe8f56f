"""The report as one HTML document: what the figures say in words, and the template that lays them out."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trunkline.report import charts
from trunkline.report.data import HeadResult, Quarantined, ReportData
from trunkline.wording import in_time

MOST_QUARANTINED = 200
MOST_CELLS = 25  # classes a confusion matrix is written out for; above, it is painted
MOST_CONFUSIONS = 10
WORK = {
    "read": "reading from the source",
    "decode": "decoding and resizing",
    "forward": "the forward pass",
    "write": "writing to the store",
}
CONTROLS = {code: chr(0x2400 + code) for code in range(32)} | {0x7F: "␡"}
DIRECTIONS = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def render(data: ReportData) -> str:
    """Lay a report out as one self-contained HTML document.

    Parameters
    ----------
    data : ReportData
        All figures and texts; every string is escaped, whatever it holds.

    Returns
    -------
    str
        HTML without scripts or external references; the same data gives the same text.
    """
    heads = best_first(data.heads)
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            data=data,
            verdict=verdict(data),
            tiles=tiles(data),
            reasons=reasons(data.quarantine),
            quarantined=max(data.counts.quarantined, len(data.quarantine)),
            most_quarantined=MOST_QUARANTINED,
            stages=timings(data.stage_seconds),
            work=timings(data.work_seconds),
            bottleneck=bottleneck(data.work_seconds),
            histogram=None if data.features is None else charts.variance_histogram(data.features),
            zeros=0 if data.features is None else int((data.features.variances == 0).sum()),
            unknown=0 if data.features is None else int((~np.isfinite(data.features.variances)).sum()),
            heads=heads,
            matrix=_matrix(heads[0]) if heads else None,
            confusions=confusions(heads[0]) if heads else [],
            worst_first=np.argsort(heads[0].f1, kind="stable").tolist() if heads else [],
            cloud=charts.cloud(data.points, data.point_labels),
            address=json.dumps(data.feature_set, ensure_ascii=False),
        )
    )
    return page.lstrip()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trunkline.report", "."),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "share": share, "score": score, "rate": rate, "duration": in_time, "jpeg": jpeg}
    return environment


def _matrix(head: HeadResult) -> list[list[charts.Cell]] | str:
    if len(head.classes) > MOST_CELLS:
        return charts.confusion_image(head.confusion)
    return charts.confusion_cells(head.confusion)


def verdict(data: ReportData) -> str:
    """Say in one sentence what came out."""
    clauses = [_images_clause(data)]
    if data.counts.pending:
        clauses.append(f"{count(data.counts.pending)} still to do")
    if data.features is not None:
        clauses.append(f"the variance filter keeps {count(data.features.kept.sum())}")
    if data.heads:
        head = best_first(data.heads)[0]
        clauses.append(f"the best head is {head.kind} with macro-F1 {score(head.macro_f1)} on the test split")
    return "; ".join(clauses) + "."


def _images_clause(data: ReportData) -> str:
    rows, ok = data.counts.live, data.counts.ok
    if not rows:
        return "There are no images yet"
    which = f"All {count(rows)} images" if ok == rows else f"{count(ok)} of {count(rows)} images"
    return f"{which} became " + ("features" if data.features is None else f"{count(data.features.dim)} features each")


@dataclass(frozen=True)
class Tile:
    """A key figure."""

    label: str
    value: str
    detail: str


def tiles(data: ReportData) -> list[Tile]:
    """Pick the key figures, the same six for every report; a dash where a stage did not run."""
    return [*_image_tiles(data), _kept_tile(data), *_head_tiles(data), _rate_tile(data)]


def _image_tiles(data: ReportData) -> list[Tile]:
    counts = data.counts
    return [
        Tile("Images with features", count(counts.ok), f"of {count(counts.live)}"),
        Tile("In quarantine", count(counts.quarantined), f"{share(counts.quarantined, counts.live)} of the images"),
    ]


def _kept_tile(data: ReportData) -> Tile:
    if data.features is None:
        return Tile("Features kept", "–", "no variances yet")
    kept, dim = int(data.features.kept.sum()), data.features.dim
    return Tile("Features kept", count(kept), f"of {count(dim)}, {share(kept, dim)}")


def _head_tiles(data: ReportData) -> list[Tile]:
    if not data.heads:
        return [Tile("Macro-F1", "–", "no head fitted"), Tile("Accuracy", "–", "no head fitted")]
    head = best_first(data.heads)[0]
    return [
        Tile("Macro-F1", score(head.macro_f1), head.kind),
        Tile("Accuracy", score(head.accuracy), f"on {count(head.confusion.sum())} test images"),
    ]


def _rate_tile(data: ReportData) -> Tile:
    if data.images_per_second is None:
        return Tile("Images per second", "–", f"{count(data.reused)} reused")
    return Tile("Images per second", rate(data.images_per_second), f"{count(data.extracted)} extracted")


def best_first(heads: Sequence[HeadResult]) -> list[HeadResult]:
    """Order heads by macro-F1, then accuracy, best first; heads whose macro-F1 is NaN come last."""
    return sorted(heads, key=lambda head: (np.isnan(head.macro_f1), -head.macro_f1, -head.accuracy))


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


@dataclass(frozen=True)
class Confusion:
    """How often one class was taken for another, and what share of its test images that is."""

    truth: str
    predicted: str
    times: int
    share: float


def confusions(head: HeadResult) -> list[Confusion]:
    """Find the most frequent confusions of a head, at most `MOST_CONFUSIONS`."""
    wrong = head.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    seen = head.confusion.sum(axis=1)
    return [Confusion(head.classes[i], head.classes[j], int(wrong[i, j]), float(wrong[i, j] / seen[i])) for i, j in pairs]


def printable(value: Any) -> Any:
    """Make control characters and changes of direction visible, and file names that are not UTF-8 writable."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8").translate(CONTROLS | DIRECTIONS)


def count(number: int) -> str:
    return f"{int(number):,}"


def score(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"


def share(part: float, whole: float) -> str:
    """A percentage that never rounds something to nothing, nor almost all to all."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.1f}%" if 0 < percent < 1 or 99 < percent < 100 else f"{percent:.0f}%"


def jpeg(picture: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")
