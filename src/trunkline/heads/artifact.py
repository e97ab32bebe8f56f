"""A fitted head in the store: its files, its predictions on the test split, its metrics; `head.json` is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.heads.catalogue import load_head
from trunkline.heads.protocol import Candidate, FittedHead
from trunkline.heads.targets import Target, Truth
from trunkline.locations import Location
from trunkline.metrics import AnyMetrics, metrics_of_json
from trunkline.tables import open_parquet, parquet_bytes

PLAIN = ("kind", "chosen", "notes", "seconds", "training_rows", "test_rows", "left_out", "sha256", "fitted_at")


@dataclass(frozen=True)
class Origin:
    """What a head was fitted on, and how.

    Parameters
    ----------
    recipe : digest of the features' recipe.
    layer : whose features.
    mask, mask_digest : where the mask lies, relative to the store; and which columns it keeps.
    spec : of the head.
    seed : of folds and everything random.
    """

    recipe: str
    layer: str
    mask: str
    mask_digest: str
    spec: Mapping[str, Any]
    seed: int


@dataclass(frozen=True)
class HeadArtifact:
    """What `head.json` says. `left_out` test rows have the bytes of a training image; `sha256` of each file.

    `fitted_at` is the UTC time, as ISO 8601, by which the last of several is known; '' in heads of before this was written down.
    """

    location: Location
    kind: str
    target: Target
    origin: Origin
    metrics: AnyMetrics
    chosen: Mapping[str, str]
    notes: Sequence[str]
    candidates: Sequence[Candidate]
    seconds: float
    training_rows: int
    test_rows: int
    left_out: int
    sha256: Mapping[str, str]
    fitted_at: str = ""

    @property
    def classes(self) -> Sequence[str]:
        """What the outputs stand for: classes, labels, or the one value of a regression."""
        return self.target.names

    @property
    def name(self) -> str:
        """`<kind>-<digest>`, of its folder."""
        return self.location.name

    def opened(self) -> FittedHead:
        """The head itself. Raises CorruptStore where a file is not what was written."""
        files = {}
        for name, digest in self.sha256.items():
            place = self.location / name
            files[name] = place.read() if place.exists() else b""
            if hashlib.sha256(files[name]).hexdigest() != digest:
                raise CorruptStore(f"{place} is damaged or missing. Delete {self.location}: the head is fitted again.")
        return load_head(self.kind, files, self.target)


@dataclass(frozen=True)
class Predictions:
    """On the test split, in row order.

    Parameters
    ----------
    rows : (n,) int64 row numbers.
    truth, predicted : (n,) int64 class numbers; (n, k) float32 indicators of labels; or (n,) float64 values.
    probability : (n,) float64 of the predicted class; the lowest certainty over labels; NaN of values.
    """

    rows: NDArray[np.int64]
    truth: Truth
    predicted: Truth
    probability: NDArray[np.float64]

    @classmethod
    def of(cls, target: Target, rows: NDArray[np.int64], truth: Truth, outputs: NDArray[np.float64]) -> Predictions:
        """From (n, k) outputs of a head."""
        match target.kind:
            case "classes":
                return cls(rows, truth, outputs.argmax(axis=1), outputs.max(axis=1))
            case "multilabel":
                claims = (outputs >= 0.5).astype(np.float32)
                return cls(rows, truth, claims, np.maximum(outputs, 1.0 - outputs).min(axis=1))
            case "regression":
                return cls(rows, truth, outputs[:, 0], np.full(len(rows), np.nan))

    def to_bytes(self) -> bytes:
        columns = {name: getattr(self, name) for name in ("rows", "truth", "predicted", "probability")}
        return parquet_bytes(pa.table({name: _column(values) for name, values in columns.items()}))


def save(artifact: HeadArtifact, fitted: FittedHead, predictions: Predictions, predictions_place: Location) -> HeadArtifact:
    """Write everything; a head without `head.json` does not exist. Gives the artifact with its files' digests."""
    files = fitted.files()
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    artifact = HeadArtifact(**{**vars(artifact), "sha256": sha256})
    for name, content in files.items():
        (artifact.location / name).write(content)
    predictions_place.write(predictions.to_bytes())
    said: dict[str, Any] = {name: getattr(artifact, name) for name in PLAIN}
    said |= {"target": asdict(artifact.target), "origin": asdict(artifact.origin)}
    said |= {"candidates": [asdict(each) for each in artifact.candidates], "metrics": artifact.metrics.to_json()}
    (artifact.location / "head.json").write(json.dumps(said, indent=2, default=dict).encode())
    return artifact


def load(location: Location) -> HeadArtifact | None:
    """The artifact, or None where it was never finished. Raises CorruptStore for a damaged one."""
    try:
        said = json.loads((location / "head.json").read())
        if "target" not in said and "classes" in said:
            return None  # of a format before this one: fitted again under another name
        target = Target(said["target"]["kind"], tuple(said["target"]["names"]))
        parts = {
            "target": target,
            "origin": Origin(**said["origin"]),
            "metrics": metrics_of_json(said["metrics"]),
            "candidates": [Candidate(**each) for each in said["candidates"]],
        }
        return HeadArtifact(location, **{**said, **parts})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptStore(f"{location}/head.json is damaged ({error!r}). Delete it: the head is fitted again.") from error


def load_predictions(place: Location) -> Predictions:
    """What a head said of the test split."""
    with open_parquet(place) as file:
        table = file.read()
    return Predictions(*(_values(table[name]) for name in ("rows", "truth", "predicted", "probability")))


def _column(values: NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.to_numpy())
    flat = column.combine_chunks().flatten().to_numpy()
    return np.asarray(flat.reshape(len(column), column.type.list_size))
