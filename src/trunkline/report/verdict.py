"""The top of the page in words: one sentence, and six key figures."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.metrics import Metrics, MultilabelMetrics
from trunkline.metrics.names import in_words
from trunkline.report.data import ReportData
from trunkline.report.heads import best_first
from trunkline.report.words import count, rate, score, share


def verdict(data: ReportData) -> str:
    """Say in one sentence what came out."""
    clauses = [_images_clause(data)]
    if data.counts.pending:
        clauses.append(f"{count(data.counts.pending)} still to do")
    if data.features is not None:
        clauses.append(f"the variance filter keeps {count(data.features.kept.sum())}")
    if data.heads:
        head = best_first(data.heads)[0]
        measure, value = head.headline
        clauses.append(f"the best head is {head.kind} with {_with_sign(measure)} {score(value)} on the test split")
    if warned := sum(batch.warned for batch in data.drift):
        clauses.append(f"{count(warned)} of {count(len(data.drift))} batches drifted")
    return "; ".join(clauses) + "."


def _with_sign(measure: str) -> str:
    return "an R² of" if measure == "R²" else measure


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
    """Pick the key figures, six for every report; a dash where a stage did not run."""
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
    found, (measure, value) = head.metrics, head.headline
    first = Tile(measure[0].upper() + measure[1:], score(value), head.kind)
    rows = f"on {count(found.rows)} test images"
    match found:
        case Metrics():
            return [first, Tile("Accuracy", score(found.accuracy), rows)]
        case MultilabelMetrics():
            return [first, Tile("Micro-F1", score(found.micro_f1), rows)]
    return [first, Tile("Mean absolute error", in_words(found.mae, "mae"), rows)]


def _rate_tile(data: ReportData) -> Tile:
    if data.images_per_second is None:
        return Tile("Images per second", "–", f"{count(data.reused)} reused")
    return Tile("Images per second", rate(data.images_per_second), f"{count(data.extracted)} extracted")
