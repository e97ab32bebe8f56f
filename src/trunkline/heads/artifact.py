"""A fitted head in the store: its files, its predictions on the test split, its metrics; `head.json` is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.heads.protocol import FittedHead
from trunkline.locations import Location
from trunkline.metrics import AnyMetrics, metrics_of_json
from trunkline.tables import open_parquet, parquet_bytes


@dataclass(frozen=True)
class HeadArtifact:
    """What `head.json` says. `left_out` test rows have the bytes of a training image."""

    location: Location
    kind: str
    classes: Sequence[str]
    metrics: AnyMetrics
    chosen: Mapping[str, str]
    seconds: float
    training_rows: int
    test_rows: int
    left_out: int


@dataclass(frozen=True)
class Predictions:
    """On the test split: row numbers, true and predicted class numbers, (n,) int64 each; probability of the prediction, (n,)."""

    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]

    def to_bytes(self) -> bytes:
        names = ("rows", "truth", "predicted", "probability")
        return parquet_bytes(pa.table({name: getattr(self, name) for name in names}))


def save(artifact: HeadArtifact, fitted: FittedHead, predictions: Predictions, predictions_place: Location) -> None:
    """Write everything; a head without `head.json` does not exist."""
    for name, content in fitted.files().items():
        (artifact.location / name).write(content)
    predictions_place.write(predictions.to_bytes())
    said: dict[str, Any] = {
        name: getattr(artifact, name) for name in ("kind", "seconds", "training_rows", "test_rows", "left_out")
    }
    said |= {"classes": list(artifact.classes), "chosen": dict(artifact.chosen)}
    said["metrics"] = artifact.metrics.to_json()
    (artifact.location / "head.json").write(json.dumps(said, indent=2).encode())


def load(location: Location) -> HeadArtifact | None:
    """The artifact, or None where it was never finished. Raises CorruptStore for a damaged one."""
    try:
        said = json.loads((location / "head.json").read())
        return HeadArtifact(location, metrics=metrics_of_json(said.pop("metrics")), **said)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptStore(f"{location}/head.json is damaged. Delete it: the head is fitted again.") from error


def load_predictions(place: Location) -> Predictions:
    with open_parquet(place) as file:
        table = file.read()
    return Predictions(*(table[name].to_numpy() for name in ("rows", "truth", "predicted", "probability")))
