"""One feature set under one mask, and heads fitted on it: where they lie, who works, what is written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from trunkline.clusters import Cluster
from trunkline.fan_out import Executor, SerialExecutor
from trunkline.heads import artifact
from trunkline.heads.artifact import HeadArtifact, Origin, Predictions
from trunkline.heads.catalogue import fit_head
from trunkline.heads.folds import folds_of
from trunkline.heads.protocol import FittedHead, Scores, Work
from trunkline.heads.training import TrainingData
from trunkline.locations import Location
from trunkline.metrics import measure
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.selection import Mask
from trunkline.specs import HeadSpec, RunSpec, digest_of
from trunkline.stages.labelled import Labelled
from trunkline.store.feature_store import FeatureStore

IN_THIS_PROCESS = 256 * 2**20  # bytes of training features below which starting workers costs more than they save
SHARES_PASSES = {"softmax", "svm", "ridge", "centroid"}  # their candidates need no workers of their own
FORMAT = 2  # of what lies in a head's folder
LIBRARIES = {
    "knn": ("numpy",),
    "tree": ("numpy", "scikit-learn"),
    "forest": ("numpy", "scikit-learn"),
    "boosted": ("numpy", "xgboost"),
    "mlp": ("numpy", "tensorflow", "keras"),
}


@dataclass
class Fitting:
    """The heads of one feature set under one mask.

    Parameters
    ----------
    data : whose rows they learn from.
    cluster : whose workers are asked where there is much to do.
    """

    spec: RunSpec
    features: Features
    mask: Mask
    data: Labelled
    progress: Progress = silent
    cluster: Cluster | None = None
    layer: str = field(init=False)

    def __post_init__(self) -> None:
        self.layer = next(iter(self.features.layers))
        self._store = FeatureStore.open(Location.of(self.spec.store))

    def place_of(self, head: HeadSpec) -> Location:
        """Where the head lies, or will lie: named by all that goes into it."""
        libraries = LIBRARIES.get(head.kind, ("numpy",))
        inputs = {
            "format": FORMAT,
            "head": {"kind": head.kind, "spec": head.digest()},
            "recipe": self.features.recipe.digest(),
            "data": self.data.key(),
            "mask": self.mask.digest,
            "seed": self.spec.seed,
            "libraries": {name: version(name) for name in libraries},
        }
        return self._store.beside("heads", self.features.feature_set) / f"{head.kind}-{digest_of(inputs)}"

    def fit(self, head: HeadSpec) -> HeadArtifact:
        """Fit it, measure it on the test split once, and write it."""
        started = time.monotonic()
        location = self.place_of(head)
        log = StoredScores(location / "scores")
        with self._training(head) as (training, executor):
            fitted = fit_head(head, training, Work(executor, self.spec.seed, log, progress=self._within(head)))
        outputs = self._outputs(fitted)
        target = self.data.target
        made = HeadArtifact(
            location=location,
            kind=head.kind,
            target=target,
            origin=self._origin(head),
            metrics=measure(target.kind, self.data.test_truth, outputs, target.outputs, self.spec.seed),
            chosen=fitted.chosen,
            notes=list(fitted.notes),
            candidates=list(fitted.candidates),
            seconds=time.monotonic() - started,
            training_rows=len(self.data.training),
            test_rows=len(self.data.test),
            left_out=self.data.left_out,
            sha256={},
            fitted_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        place = self._store.beside("predictions", self.features.feature_set) / f"{location.name}.parquet"
        saved = artifact.save(made, fitted, Predictions.of(target, self.data.test, self.data.test_truth, outputs), place)
        log.clear()
        return saved

    @contextmanager
    def _training(self, head: HeadSpec) -> Iterator[tuple[TrainingData, Executor]]:
        kept = self.mask.layers[self.layer].kept
        reader = self.features.view(layer=self.layer).reader
        truth, target = self.data.training_truth, self.data.target
        folds = folds_of(target, truth, getattr(head, "folds", 2), self.spec.seed)
        executor = self._executor(head, len(truth) * int(kept.sum()) * 4)
        training = TrainingData(reader, kept, int(kept.sum()), self.data.training, target, truth, folds, executor)
        try:
            yield training, executor
        finally:
            training.release()

    def _executor(self, head: HeadSpec, nbytes: int) -> Executor:
        """Workers where the data or the grid is large."""
        grid = bool(head.axes) and head.kind not in SHARES_PASSES
        if self.cluster is None or (nbytes <= IN_THIS_PROCESS and not grid):
            return SerialExecutor()
        return self.cluster.executor

    def _outputs(self, fitted: FittedHead) -> NDArray[np.float64]:
        """(n, k) of the test rows, block by block."""
        kept = self.mask.layers[self.layer].kept
        reader, rows = self.features.view(layer=self.layer).reader, self.data.test
        parts = [fitted.outputs(np.asarray(reader.read(rows[a:b], kept), np.float32)) for a, b in reader.cut(rows, 16 * 2**20)]
        return np.concatenate(parts)

    def _origin(self, head: HeadSpec) -> Origin:
        mask = self.mask.location.uri.removeprefix(self._store.root.uri).lstrip("/")
        spec = head.model_dump(mode="json")
        return Origin(self.features.recipe.digest(), self.layer, mask, self.mask.digest, spec, self.spec.seed)

    def _within(self, head: HeadSpec) -> Progress:
        """Steps of one head, told as those of the stage."""
        number, count = self.spec.heads.index(head), len(self.spec.heads)
        return lambda step: self.progress(Step("fit", number, count, f"{head.kind}: {step.note}"))


class StoredScores:
    """Scores of finished candidates in the head's own folder, until the head is there."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder

    def get(self, key: str) -> Scores | None:
        """What was kept, in this process or one before; damaged ones are made anew."""
        try:
            return Scores(**json.loads((self._folder / f"{key}.json").read()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def put(self, key: str, scores: Scores) -> None:
        """Keep it."""
        (self._folder / f"{key}.json").write(json.dumps(asdict(scores)).encode())

    def clear(self) -> None:
        """The head is there: its table says it all."""
        for name in self._folder.names():
            (self._folder / name).remove()
