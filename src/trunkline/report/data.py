"""What a report shows: plain values, gathered by the report stage, drawn by `page`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from trunkline.accounting import RowCounts
from trunkline.drift import BatchDrift
from trunkline.heads.curves import LearningPoint
from trunkline.heads.protocol import Candidate
from trunkline.metrics import AnyMetrics


@dataclass(frozen=True)
class Quarantined:
    """An image that could not be read: its id (path under the source) and why."""

    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class HeadResult:
    """A fitted head on the test split.

    `classes` are the names of classes or labels, in the order of the metrics' arrays; a regression has none, or the target's name.
    `chosen` holds what cross-validation or the spec decided, ready to print; `candidates` all that were tried, in the order to show
    them, with scores of what `candidates_by` names.
    """

    kind: str
    metrics: AnyMetrics
    classes: Sequence[str]
    chosen: Mapping[str, str]
    seconds: float
    candidates: Sequence[Candidate] = ()
    candidates_by: str = "score"

    @property
    def headline(self) -> tuple[str, float]:
        return self.metrics.headline


@dataclass(frozen=True)
class Heat:
    """What in an image speaks for a class: a small JPEG of the image as the network sees it, under heat."""

    name: str
    jpeg: bytes


@dataclass(frozen=True)
class Mistake:
    """A test image that a head got wrong, worst first.

    `truth` and `predicted` are ready to print; `probability` is how sure the head was, None where it gives none; `thumbnail` is a JPEG, or
    None where the image could not be read again; `heats` are of the predicted class and the true one, where they can be made.
    """

    id: str
    truth: str
    predicted: str
    probability: float | None
    thumbnail: bytes | None
    heats: Sequence[Heat] = ()


@dataclass(frozen=True)
class Picture:
    """An image of the 2-D view: its id, and a small JPEG."""

    id: str
    jpeg: bytes


@dataclass(frozen=True)
class FilterPoint:
    """A threshold the variance filter could have: features kept, their bytes, a head's score on them; `current` is the mask's own."""

    kept: int
    bytes: int
    score: float
    current: bool


@dataclass(frozen=True)
class LayerResult:
    """One layer's variances over the training rows, (dim,) float64, and which columns the mask keeps, (dim,) bool."""

    layer: str
    dtype: str
    variances: NDArray[np.float64]
    kept: NDArray[np.bool_]
    threshold: float

    @property
    def dim(self) -> int:
        return len(self.variances)


@dataclass(frozen=True)
class Effect:
    """What a faster recipe did to the features: cosine to those of the exact one, over a sample of `images`."""

    what: str
    images: int
    mean_cosine: float
    lowest_cosine: float


@dataclass(frozen=True)
class ReportData:
    """Everything on the page. Optional parts are empty where a stage did not run (no labels, no heads)."""

    dataset: str
    source: str
    feature_set: str
    made_at: datetime
    counts: RowCounts
    extracted: int
    reused: int
    images_per_second: float | None
    stage_seconds: Mapping[str, float]  # scan, extract, select, fit
    work_seconds: Mapping[str, float]  # read, decode, forward, write: summed over threads and workers, this feature set
    recipe: Mapping[str, str]
    environment: Mapping[str, str]
    quarantine: Sequence[Quarantined]
    features: LayerResult | None
    heads: Sequence[HeadResult] = ()
    points: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    point_labels: Sequence[str] = ()
    points_method: str = ""  # such as "t-SNE of 50 principal components, 1,500 training rows"
    pictures: Mapping[int, Picture] = field(default_factory=dict)  # of some points, by the point's number
    mistakes: Sequence[Mistake] = ()
    mistakes_head: str = ""
    effects: Sequence[Effect] = ()
    engine: Mapping[str, str] = field(default_factory=dict)  # how workers used their machine, where this run extracted
    filter_points: Sequence[FilterPoint] = ()
    filter_score: str = ""  # what their score is, such as "macro-F1 of softmax by 3-fold cross-validation"
    learning: Sequence[LearningPoint] = ()
    learning_score: str = ""  # such as "macro-F1 of softmax on the test split"
    drift: Sequence[BatchDrift] = ()
    drift_threshold: float | None = None  # above it a batch is warned of
    drift_measure: str = ""  # what the figures are, such as "root mean square of the shifts of means, in deviations"
    notes: Sequence[str] = ()  # warnings a reader must see: duplicates left out of the metrics, …
