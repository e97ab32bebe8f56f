"""Gradient-boosted trees: XGBoost's histograms, on the Dask workers over rows that they read themselves, or in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.fan_out import DaskExecutor
from trunkline.heads import boosted_file
from trunkline.heads.boosted_on_workers import trained_on_workers
from trunkline.heads.protocol import Candidate, Features, Work
from trunkline.heads.sampling import class_weight_notes, row_weights, within
from trunkline.heads.sweep import best_of
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.specs import BoostedSpec

FILE = "boosted.json"
OBJECTIVES = {"classes": "multi:softprob", "multilabel": "binary:logistic", "regression": "reg:squarederror"}


@dataclass(frozen=True)
class Boosted:
    """A Booster read from its JSON."""

    booster: Any
    content: bytes
    target: Target
    chosen: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    candidates: Sequence[Candidate] = ()

    def outputs(self, features: Features) -> NDArray[np.float64]:
        """Raises CorruptStore for another number of features than it was fitted on."""
        if features.shape[1] != self.booster.num_features():
            raise CorruptStore(
                f"The saved boosted trees were fitted on {self.booster.num_features()} features and are asked about "
                f"{features.shape[1]}: they belong to another mask. Delete the head: it is fitted again."
            )
        if not len(features):
            return np.zeros((0, self.target.outputs))
        found = self.booster.inplace_predict(np.ascontiguousarray(features, np.float32))
        out = np.asarray(found, np.float64).reshape(len(features), self.target.outputs)
        if self.target.kind == "classes":
            out /= out.sum(axis=1, keepdims=True)  # XGBoost's sums are those of float32
        return out

    def files(self) -> dict[str, bytes]:
        return {FILE: self.content}

    @classmethod
    def load(cls, files: Mapping[str, bytes], target: Target) -> Boosted:
        """Raises CorruptStore for a damaged file, and for one that holds anything but sound trees for this target."""
        content = files[FILE]
        booster = boosted_file.loaded(content, FILE, OBJECTIVES[target.kind], target)
        return cls(booster, content, target)


def fit_boosted(spec: BoostedSpec, data: TrainingData, work: Work) -> Boosted:
    """Choose among candidates, then fit on all training rows, or on a sample that fits into `work.memory` of each worker.

    The same seed, number of workers and threads give the same trees. Other numbers of workers add gradients up in another order and
    merge other summaries of the features, so that splits that are nearly equal may fall otherwise.
    """
    swept = best_of(spec, data, work, boosted)
    workers = work.executor.workers if isinstance(work.executor, DaskExecutor) else 1
    some, notes = within(data, work.memory * workers, work.seed, "The boosted trees were fitted")
    fitted = boosted(swept.spec, some, work)
    notes = (*swept.notes, *notes, *class_weight_notes(data.target, spec.class_weight))
    return replace(fitted, chosen=swept.chosen, notes=notes, candidates=swept.candidates)


def boosted(spec: BoostedSpec, data: TrainingData, work: Work) -> Boosted:
    """One fit: on the workers where there are some, else here, its rows in memory."""
    settings, rounds = _settings(spec, data.target, work), spec.rounds[0]
    truth = np.asarray(data.truth, np.float32)
    weights = row_weights(data.target, data.truth, spec.class_weight)
    if isinstance(work.executor, DaskExecutor):
        booster = trained_on_workers(settings, rounds, data, truth, weights, work.executor)
    else:
        booster = _trained_here(settings, rounds, data, truth, weights)
    content = bytes(booster.save_raw("json"))
    return Boosted.load({FILE: content}, data.target)


def _trained_here(
    settings: Mapping[str, Any], rounds: int, data: TrainingData, truth: Features, weights: NDArray[np.float32] | None
) -> Any:
    import xgboost

    matrix = xgboost.QuantileDMatrix(data.whole(), label=truth, weight=weights, nthread=settings["nthread"])
    return xgboost.train(dict(settings), matrix, num_boost_round=rounds)


def _settings(spec: BoostedSpec, target: Target, work: Work) -> dict[str, Any]:
    settings = {
        "objective": OBJECTIVES[target.kind],
        "tree_method": "hist",
        "max_depth": spec.max_depth[0],
        "learning_rate": spec.learning_rate[0],
        "seed": work.seed,
        "nthread": work.executor.threads,
        "verbosity": 0,
    }
    return settings | ({"num_class": target.outputs} if target.kind == "classes" else {})
