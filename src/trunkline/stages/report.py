"""Report: everything a run made → one `report.html`. Unchanged inputs keep the report that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from trunkline import selection
from trunkline.heads.artifact import HeadArtifact
from trunkline.locations import Location
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.reading.snapshot import QUARANTINED
from trunkline.report.data import (
    Effect,
    FilterPoint,
    HeadResult,
    LayerResult,
    Quarantined,
    ReportData,
)
from trunkline.specs import RunSpec, digest_of
from trunkline.stages.extract import ExtractReceipt
from trunkline.stages.fit import FitReceipt
from trunkline.stages.mistakes import mistakes_of
from trunkline.stages.select import SelectReceipt, feature_set_of
from trunkline.stages.view import pictures_of, view_of
from trunkline.stages.watched import watched
from trunkline.store.feature_store import FeatureStore


@dataclass(frozen=True)
class ReportReceipt:
    """Where the report lies; `cached` where it was made before from the same inputs."""

    report: str
    cached: bool

    def in_words(self) -> str:
        return f"{self.report}, {'made before' if self.cached else 'made now'}"


@watched("report", ReportReceipt.in_words)
def report(
    spec: RunSpec,
    run_id: str,
    extracted: ExtractReceipt,
    selected: SelectReceipt | None,
    fitted: FitReceipt,
    seconds: Mapping[str, float],
    progress: Progress = silent,
) -> ReportReceipt:
    """Write `runs/<run-id>/report.html`, or return the one that was made from the same features, mask and heads."""
    features = feature_set_of(spec)
    key = _key(features, extracted, selected, fitted)
    pointer = features.feature_set.location / "report.json"
    earlier = _earlier(pointer, key)
    if earlier and not extracted.extracted:
        return ReportReceipt(earlier, cached=True)
    from trunkline.report.page import render  # Matplotlib takes a second to import, and most commands draw nothing

    progress(Step("report", 0, 1))
    page = render(_data(spec, features, extracted, selected, fitted, seconds))
    place = FeatureStore.open(Location.of(spec.store)).runs / f"{run_id}/report.html"
    place.write(page.encode(), "text/html; charset=utf-8")
    pointer.write(json.dumps({"key": key, "report": place.uri}).encode())
    progress(Step("report", 1, 1))
    return ReportReceipt(place.uri, cached=False)


def _earlier(pointer: Location, key: str) -> str | None:
    """The report that was made from the same inputs, where it still lies there."""
    try:
        said = json.loads(pointer.read())
        return str(said["report"]) if said["key"] == key and Location(said["report"]).exists() else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # a lost pointer costs one rendering


def _key(features: Features, extracted: ExtractReceipt, selected: SelectReceipt | None, fitted: FitReceipt) -> str:
    counts = vars(extracted.counts)
    heads = [head.location.uri for head in fitted.heads]
    effects = [vars(effect) for effect in extracted.effects]
    drift = [asdict(each) for each in selected.drift] if selected else []
    return digest_of([features.uri, counts, selected and selected.digest, heads, list(fitted.notes), effects, drift])


def _data(
    spec: RunSpec,
    features: Features,
    extracted: ExtractReceipt,
    selected: SelectReceipt | None,
    fitted: FitReceipt,
    seconds: Mapping[str, float],
) -> ReportData:
    mask = selection.load(Location(selected.mask)).layers[selected.layer] if selected else None
    view = view_of(features, mask)
    best = max(fitted.heads, key=lambda head: np.nan_to_num(head.metrics.headline[1], nan=-np.inf), default=None)
    work, environment = _work(features)
    return ReportData(
        dataset=features.dataset.name,
        source=features.dataset.source.root.uri,
        feature_set=features.uri,
        made_at=datetime.now(UTC),
        counts=extracted.counts,
        extracted=extracted.extracted,
        reused=extracted.reused,
        images_per_second=extracted.images_per_second,
        stage_seconds=seconds,
        work_seconds=work,
        recipe={name: _in_words(value) for name, value in features.recipe.model_dump().items()},
        environment=environment,
        effects=[Effect(**vars(effect)) for effect in extracted.effects],
        engine={name: str(value) for name, value in vars(extracted.engine).items()} if extracted.engine else {},
        quarantine=quarantined(features),
        features=LayerResult(selected.layer, extracted.dtype, mask.variances, mask.kept, mask.threshold)
        if selected and mask
        else None,
        heads=[_head(head) for head in fitted.heads],
        points=view.points,
        point_labels=view.labels,
        points_method=view.method,
        pictures=pictures_of(features, view.rows, view.labels),
        mistakes=mistakes_of(features, best, _predictions(spec, features, best), spec.engine.batch) if best else (),
        mistakes_head=best.kind if best else "",
        **_curves(fitted, selected),
        **_drift(spec, selected),
        notes=[*(selected.notes if selected else ()), *fitted.notes],
    )


def quarantined(features: Features, most: int | None = None) -> list[Quarantined]:
    """The live quarantined images, in row order; at most so many."""
    rows = np.flatnonzero(features.snapshot.statuses() == QUARANTINED)[:most]
    return [Quarantined(**row) for row in features.snapshot.table(rows, ("id", "reason", "detail")).to_pylist()]


def _in_words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _head(head: HeadArtifact) -> HeadResult:
    by = "R²" if head.target.kind == "regression" else "macro-F1"
    return HeadResult(
        head.kind, head.metrics, head.classes, head.chosen, head.seconds, head.candidates, f"{by} on held-out folds"
    )


def _predictions(spec: RunSpec, features: Features, head: HeadArtifact) -> Location:
    store = FeatureStore.open(Location.of(spec.store))
    return store.beside("predictions", features.feature_set) / f"{head.name}.parquet"


def _curves(fitted: FitReceipt, selected: SelectReceipt | None) -> dict[str, Any]:
    kept = selected.kept if selected else 0
    by = "R²" if any(head.target.kind == "regression" for head in fitted.heads) else "macro-F1"
    return {
        "filter_points": [FilterPoint(**vars(each), current=each.kept == kept) for each in fitted.curves.filter],
        "filter_score": f"{by} of ridge on a third of the training images, held out",
        "learning": fitted.curves.learning,
        "learning_score": f"{by} of softmax on a third of the training images, held out",
    }


def _drift(spec: RunSpec, selected: SelectReceipt | None) -> dict[str, Any]:
    drift = selected.drift if selected and len(selected.drift) > 1 else ()
    measure = "root mean square over the kept features of the shift of their means, in standard deviations of the mask's training images"
    return {"drift": drift, "drift_threshold": spec.drift_warning, "drift_measure": measure}


def _work(features: Features) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds by kind of work over all commits, and the environment of the last one."""
    work = dict.fromkeys(("read", "decode", "forward", "write"), 0.0)
    environment: dict[str, str] = {}
    for commit in features.commits():
        for kind in work:
            work[kind] += getattr(commit.timings, kind)
        environment = dict(commit.environment)
    return work, environment
