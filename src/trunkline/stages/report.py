"""Report: everything a run made → one `report.html`. Unchanged inputs keep the report that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from trunkline import images, selection
from trunkline.errors import UnreadableImage
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact
from trunkline.locations import Location
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.reading.snapshot import QUARANTINED
from trunkline.report.data import Effect, HeadResult, LayerResult, Mistake, Quarantined, ReportData
from trunkline.selection import LayerMask
from trunkline.specs import RunSpec, digest_of
from trunkline.stages.extract import ExtractReceipt
from trunkline.stages.fit import FitReceipt
from trunkline.stages.select import SelectReceipt, feature_set_of
from trunkline.store.feature_store import FeatureStore

POINTS = 1500
COMPONENTS = 50
MISTAKES = 24


@dataclass(frozen=True)
class ReportReceipt:
    """Where the report lies; `cached` where it was made before from the same inputs."""

    report: str
    cached: bool


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
    page = render(_data(features, extracted, selected, fitted, seconds))
    place = FeatureStore.open(Location.of(spec.store)).runs / f"{run_id}/report.html"
    place.write(page.encode())
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
    return digest_of([features.uri, counts, selected and selected.digest, heads, list(fitted.notes), effects])


def _data(
    features: Features,
    extracted: ExtractReceipt,
    selected: SelectReceipt | None,
    fitted: FitReceipt,
    seconds: Mapping[str, float],
) -> ReportData:
    mask = selection.load(Location(selected.mask)).layers[selected.layer] if selected else None
    points, labels, method = _points(features, mask)
    best = max(fitted.heads, key=lambda head: head.metrics.headline[1], default=None)
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
        points=points,
        point_labels=labels,
        points_method=method,
        mistakes=_mistakes(features, best) if best else (),
        mistakes_head=best.kind if best else "",
        notes=fitted.notes,
    )


def quarantined(features: Features) -> list[Quarantined]:
    """The live quarantined images, in row order."""
    rows = np.flatnonzero(features.snapshot.statuses() == QUARANTINED)
    return [Quarantined(**row) for row in features.snapshot.table(rows, ("id", "reason", "detail")).to_pylist()]


def _in_words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _head(head: HeadArtifact) -> HeadResult:
    names = ("accuracy", "macro_f1", "confusion", "precision", "recall", "f1", "support")
    figures = {name: getattr(head.metrics, name) for name in names}
    return HeadResult(kind=head.kind, classes=head.classes, chosen=head.chosen, seconds=head.seconds, **figures)


def _work(features: Features) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds by kind of work over all commits, and the environment of the last one."""
    work = dict.fromkeys(("read", "decode", "forward", "write"), 0.0)
    environment: dict[str, str] = {}
    for commit in features.commits():
        for kind in work:
            work[kind] += getattr(commit.timings, kind)
        environment = dict(commit.environment)
    return work, environment


def _points(features: Features, mask: LayerMask | None) -> tuple[NDArray[np.float64], list[str], str]:
    """A 2-D view of up to 1,500 images: t-SNE of the leading principal components; too few images give none."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = features.rows()
    if mask is None or len(rows) < 10:
        return np.empty((0, 2)), [], ""
    some = np.sort(np.random.default_rng(0).choice(rows, min(POINTS, len(rows)), replace=False))
    x = features.read(some, columns=mask.kept) / np.sqrt(mask.variances[mask.kept]).astype(np.float32)
    components = min(COMPONENTS, len(some) - 1, x.shape[1])
    reduced = PCA(components, random_state=0).fit_transform(x)
    perplexity = min(30.0, (len(some) - 1) / 3)
    start = "pca" if components >= 2 else "random"
    with threadpool_limits(1, user_api="openmp"):  # on a busy machine its threads spend their time waiting for each other
        view = TSNE(perplexity=perplexity, init=start, random_state=0).fit_transform(reduced)
    labels = [label or "no label" for label in features.labels(some)]
    return view.astype(np.float64), labels, f"t-SNE of {components} principal components, {len(some):,} images"


def _mistakes(features: Features, head: HeadArtifact) -> Sequence[Mistake]:
    """The wrong test predictions with the highest probability, worst first."""
    store = Location(features.uri.rsplit("/", 3)[0])
    place = FeatureStore(store).beside("predictions", features.feature_set) / f"{head.location.name}.parquet"
    made = artifact.load_predictions(place)
    wrong = np.flatnonzero(made.truth != made.predicted)
    worst = wrong[np.argsort(-made.probability[wrong], kind="stable")][:MISTAKES]
    order = np.argsort(made.rows[worst])
    listed = features.snapshot.listed(made.rows[worst][order]).to_pylist()
    found = [listed[place] for place in np.argsort(order)]
    return [
        Mistake(
            id=row["id"],
            truth=head.classes[made.truth[number]],
            predicted=head.classes[made.predicted[number]],
            probability=float(made.probability[number]),
            thumbnail=_thumbnail(features, **row),
        )
        for number, row in zip(worst, found, strict=True)
    ]


def _thumbnail(features: Features, id: str, version: str, place: str) -> bytes | None:
    try:
        return images.thumbnail(images.decode(features.dataset.source.read(id, version, place)))
    except UnreadableImage:
        return None
