"""The worst mistakes of a head on the test split, with their images: what a person wants to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import images
from trunkline.errors import UnreadableImage
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact, Predictions
from trunkline.heads.targets import Target
from trunkline.locations import Location
from trunkline.reader import Features
from trunkline.report.data import Mistake
from trunkline.stages.heats import heats_of

MOST = 24


def mistakes_of(features: Features, head: HeadArtifact, predictions: Location, batch: int | None = None) -> Sequence[Mistake]:
    """Worst first: classes by the probability of the wrong answer, labels by how many are wrong, values by the error.

    `batch` is that of the spec's engine, with which the backbone was compiled.
    """
    made = artifact.load_predictions(predictions)
    worst = _worst(head.target, made)[:MOST]
    order = np.argsort(made.rows[worst])
    listed = features.snapshot.listed(made.rows[worst][order]).to_pylist()
    found = [listed[place] for place in np.argsort(order)]
    looks = [_look(features, **row) for row in found]
    wanted = (
        [(int(made.predicted[number]), int(made.truth[number])) for number in worst] if head.target.kind == "classes" else []
    )
    heats = heats_of(features, head, [pixels for _, pixels in looks], wanted, batch) if wanted else [()] * len(worst)
    return [
        Mistake(
            id=row["id"],
            truth=_said(head.target, made.truth[number]),
            predicted=_said(head.target, made.predicted[number]),
            probability=None if head.target.kind == "regression" else float(made.probability[number]),
            thumbnail=thumbnail,
            heats=heat,
        )
        for number, row, (thumbnail, _), heat in zip(worst, found, looks, heats, strict=True)
    ]


def _worst(target: Target, made: Predictions) -> NDArray[np.int64]:
    match target.kind:
        case "classes":
            wrong = np.flatnonzero(made.truth != made.predicted)
            return wrong[np.argsort(-made.probability[wrong], kind="stable")]
        case "multilabel":
            count = (made.truth != made.predicted).sum(axis=1)
            wrong = np.flatnonzero(count)
            return wrong[np.lexsort((-made.probability[wrong], -count[wrong]))]
        case "regression":
            return np.argsort(-np.abs(made.truth - made.predicted), kind="stable")


def _said(target: Target, value: NDArray[np.generic]) -> str:
    match target.kind:
        case "classes":
            return target.names[int(value)]
        case "multilabel":
            return ", ".join(name for name, there in zip(target.names, value, strict=True) if there) or "none"
        case "regression":
            return f"{float(value):.4g}"


def _look(features: Features, id: str, version: str, place: str) -> tuple[bytes | None, NDArray[Any] | None]:
    """A thumbnail, and what the network sees; the file itself is not kept."""
    thumbnail = None
    try:
        content = features.dataset.source.read(id, version, place)
        thumbnail = images.thumbnail(images.decode(content))
        return thumbnail, images.load(content, features.recipe)
    except UnreadableImage:
        return thumbnail, None
