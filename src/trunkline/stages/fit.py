"""Fit: masked features and labels → heads. A head whose inputs did not change is not fitted again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from trunkline import selection
from trunkline.errors import DataError
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact, Predictions
from trunkline.heads.catalogue import fit_head
from trunkline.locations import Location
from trunkline.metrics import Metrics
from trunkline.moments import rows_key
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.selection import Mask
from trunkline.specs import HeadSpec, RunSpec, digest_of
from trunkline.stages.select import feature_set_of, masks_of
from trunkline.store.feature_store import FeatureStore


@dataclass(frozen=True)
class FitReceipt:
    """The heads, in the spec's order; `fitted` of them now, the others before. `notes` say what a reader must know."""

    heads: Sequence[HeadArtifact]
    fitted: int
    notes: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class _Data:
    """Labelled rows of both splits: row numbers ascending, class numbers.

    Test rows are those that can be measured: `left_out` have the bytes of a training image, `strangers` are of classes that no
    training image has, by class.
    """

    classes: tuple[str, ...]
    training: NDArray[np.int64]
    training_codes: NDArray[np.int64]
    test: NDArray[np.int64]
    test_codes: NDArray[np.int64]
    left_out: int
    strangers: Mapping[str, int]


def fit(spec: RunSpec, progress: Progress = silent, only_stored: bool = False) -> FitReceipt:
    """Fit each head on the training split and measure it on the test split; with `only_stored`, leave out those not fitted before.

    Raises
    ------
    StoreError : nothing was extracted yet.
    DataError : no mask yet.
    """
    started = time.monotonic()
    features = feature_set_of(spec)
    if spec.labels == "none" or not any(features.index()["label"].to_pylist()):
        why = "Labels were not asked for" if spec.labels == "none" else "The source has no class folders"
        return FitReceipt((), 0, (f"{why}, so no head was fitted.",), time.monotonic() - started)
    mask = selection.load_latest(masks_of(spec, features))
    if mask is None:
        raise DataError(f"{features.uri} has no mask under this rule yet. Run `trunkline select` first.")
    data = _labelled(features)
    why = _why_no_head(data)
    if why:
        return FitReceipt((), 0, (f"{why}, so no head was fitted.",), time.monotonic() - started)
    store = FeatureStore.open(Location.of(spec.store))
    heads, fitted = [], 0
    for number, head in enumerate(spec.heads):
        progress(Step("fit", number, len(spec.heads), head.kind))
        location = store.beside("heads", features.feature_set) / _key(head, data, mask, features, spec.seed)
        found = artifact.load(location)
        if found is None and only_stored:
            continue
        if found is None:
            predictions = store.beside("predictions", features.feature_set) / f"{location.name}.parquet"
            found = _fit_one(head, data, mask, features, spec.seed, location, predictions)
            fitted += 1
        heads.append(found)
    progress(Step("fit", len(spec.heads), len(spec.heads)))
    return FitReceipt(heads, fitted, _notes(data), time.monotonic() - started)


def _labelled(features: Features) -> _Data:
    index = features.index()
    labels, digests = np.asarray(index["label"].to_pylist(), object), np.asarray(index["sha256"].to_pylist(), object)
    training, test = (_positions(features, split, labels) for split in ("train", "test"))
    classes = tuple(sorted(set(labels[training])))
    numbers = {name: number for number, name in enumerate(classes)}
    known = test[[label in numbers for label in labels[test]]]
    trained = set(digests[training])
    fresh = known[[digest not in trained for digest in digests[known]]]
    codes = [np.array([numbers[label] for label in labels[rows]], np.int64) for rows in (training, fresh)]
    rows = index["row"].to_numpy()
    strangers = Counter(label for label in labels[test] if label not in numbers)
    return _Data(classes, rows[training], codes[0], rows[fresh], codes[1], len(known) - len(fresh), strangers)


def _why_no_head(data: _Data) -> str:
    """What is missing to fit and measure a head; '' where nothing is."""
    if len(data.classes) < 2:
        return f"A head needs at least two classes, and the training split has {len(data.classes)} ({', '.join(data.classes)})"
    if not len(data.test):
        gone = f"{data.left_out} test images equal training images byte for byte, {sum(data.strangers.values())} are of unknown classes"
        return f"No test image is left to measure heads on ({gone})"
    return ""


def _notes(data: _Data) -> list[str]:
    notes = []
    if data.left_out:
        notes.append(f"{data.left_out} test images have the same bytes as a training image; they are left out of the metrics.")
    if data.strangers:
        names = ", ".join(sorted(data.strangers)[:5])
        notes.append(
            f"{sum(data.strangers.values())} test images are of classes without a training image ({names}), which no head can know; they "
            "are left out of the metrics."
        )
    return notes


def _positions(features: Features, split: str, labels: NDArray[np.object_]) -> NDArray[np.int64]:
    """Where in the index the labelled live rows of a split stand."""
    index = features.index()
    if split not in set(index["split"].to_pylist()):
        return np.empty(0, np.int64)
    found = np.searchsorted(index["row"].to_numpy(), features.rows(split))
    return found[[label is not None for label in labels[found]]]


def _key(head: HeadSpec, data: _Data, mask: Mask, features: Features, seed: int) -> str:
    """Of all that goes into a head: features, rows, labels, mask, spec, seed, libraries."""
    index = features.index()
    versions = np.searchsorted(index["row"].to_numpy(), np.concatenate([data.training, data.test]))
    inputs = {
        "head": {"kind": head.kind, "spec": head.digest()},
        "recipe": features.recipe.digest(),
        "images": digest_of(index["sha256"].take(versions).to_pylist()),
        "training": [rows_key(data.training), rows_key(data.training_codes)],
        "test": [rows_key(data.test), rows_key(data.test_codes)],
        "classes": data.classes,
        "mask": mask.digest,
        "seed": seed,
        "libraries": {name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
    }
    return f"{head.kind}-{digest_of(inputs)}"


def _fit_one(
    head: HeadSpec, data: _Data, mask: Mask, features: Features, seed: int, location: Location, predictions_place: Location
) -> HeadArtifact:
    started = time.monotonic()
    layer = next(iter(features.layers))
    kept = mask.layers[layer].kept
    fitted = fit_head(head, features.read(data.training, layer, kept), data.training_codes, len(data.classes), seed)
    probabilities = fitted.probabilities(features.read(data.test, layer, kept))
    predicted = probabilities.argmax(axis=1)
    made = HeadArtifact(
        location=location,
        kind=head.kind,
        classes=data.classes,
        metrics=Metrics.of(data.test_codes, predicted, len(data.classes)),
        chosen=fitted.chosen,
        seconds=time.monotonic() - started,
        training_rows=len(data.training),
        test_rows=len(data.test),
        left_out=data.left_out,
    )
    artifact.save(
        made, fitted, Predictions(data.test, data.test_codes, predicted, probabilities.max(axis=1)), predictions_place
    )
    return made
