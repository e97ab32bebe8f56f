"""What a report shows: plain values, gathered by the report stage, drawn by `page`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from trunkline.accounting import RowCounts


@dataclass(frozen=True)
class Quarantined:
    """An image that could not be read: its id (path under the source) and why."""

    id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class HeadResult:
    """A fitted head on the test split.

    `confusion` is (classes, classes) int64, rows are the truth, columns the prediction; `precision`, `recall`, `f1` are
    (classes,) float64; `support` is (classes,) int64. `chosen` holds what cross-validation or the spec decided, ready to print.
    """

    kind: str
    accuracy: float
    macro_f1: float
    classes: Sequence[str]
    confusion: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    chosen: Mapping[str, str]
    seconds: float


@dataclass(frozen=True)
class Mistake:
    """A test image that a head got wrong with confidence; `thumbnail` is a JPEG, or None where it could not be read again."""

    id: str
    truth: str
    predicted: str
    probability: float
    thumbnail: bytes | None


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
    mistakes: Sequence[Mistake] = ()
    mistakes_head: str = ""
    effects: Sequence[Effect] = ()
    engine: Mapping[str, str] = field(default_factory=dict)  # how workers used their machine, where this run extracted
    notes: Sequence[str] = ()  # warnings a reader must see: duplicates left out of the metrics, …
