"""Decision tree and random forest: scikit-learn's, large forests on the Dask workers by joblib, saved with skops."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.fan_out import DaskExecutor, Executor, workers_of
from trunkline.heads import trees_file
from trunkline.heads.protocol import Candidate, Features, Work
from trunkline.heads.sampling import class_weight_notes, row_weights, within
from trunkline.heads.sweep import best_of
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.heads.watching import WorkerLostError, while_there
from trunkline.specs import ForestSpec, TreeSpec

log = logging.getLogger(__name__)

FILE = "trees.skops"
FEATURES_OF_A_SPLIT = 1 / 3  # of a forest's regression trees (Breiman 2001); of its classification trees the square root
DISTRIBUTED_FROM = (
    1e9  # comparisons, about: some twenty seconds of one core; workers on the same machine are no faster than its threads
)


@dataclass(frozen=True)
class Trees:
    """A fitted tree or forest of scikit-learn; of several labels each tree gives all of them."""

    model: Any
    target: Target
    chosen: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    candidates: Sequence[Candidate] = ()

    def outputs(self, features: Features) -> NDArray[np.float64]:
        """The mean over the trees. Raises CorruptStore for another number of features, which scikit-learn would read past."""
        if features.shape[1] != self.model.n_features_in_:
            raise CorruptStore(
                f"The saved trees were fitted on {self.model.n_features_in_} features and are asked about {features.shape[1]}: they "
                "belong to another mask. Delete the head: it is fitted again."
            )
        x = np.ascontiguousarray(features, np.float32)
        trees = [each.tree_ for each in trees_file.estimators_of(self.model)]
        total = np.zeros((len(x), trees[0].n_outputs, trees[0].max_n_classes))
        for tree in trees:
            total += tree.predict(x).reshape(total.shape)
        total /= len(trees)
        return self._placed(total)

    def files(self) -> dict[str, bytes]:
        return {FILE: trees_file.dumped(self.model)}

    @classmethod
    def load(cls, files: Mapping[str, bytes], target: Target) -> Trees:
        """Raises CorruptStore for a damaged file, and for one that holds anything but sound trees for this target."""
        return cls(trees_file.loaded(files[FILE], FILE, target), target)

    def _placed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, outputs of the trees, their classes) → (n, k): classes that training lacked have probability 0."""
        if self.target.kind == "regression":
            return values[:, 0, :]
        out = np.zeros((len(values), self.target.outputs))
        if self.target.kind == "classes":
            out[:, self.model.classes_] = values[:, 0, : len(self.model.classes_)]
            return out
        for label, classes in enumerate(trees_file.classes_by_output(self.model)):
            places = np.flatnonzero(np.asarray(classes) == 1)
            if len(places):
                out[:, label] = values[:, label, places[0]]
        return out


def fit_trees(spec: TreeSpec | ForestSpec, data: TrainingData, work: Work) -> Trees:
    """Choose among candidates, then fit on all training rows, or on a sample that fits into `work.memory`.

    The same seed gives the same trees, with any executor and any number of threads.
    """
    swept = best_of(spec, data, work, grown)
    some, notes = within(data, work.memory, work.seed, f"The {spec.kind} was fitted")
    fitted = grown(swept.spec, some, work)
    notes = (*swept.notes, *notes, *class_weight_notes(data.target, spec.class_weight))
    return replace(fitted, chosen=swept.chosen, notes=notes, candidates=swept.candidates)


def grown(spec: TreeSpec | ForestSpec, data: TrainingData, work: Work) -> Trees:
    """One fit, its rows in memory."""
    model = _model(spec, data.target, work)
    x, weights = data.whole(), row_weights(data.target, data.truth, spec.class_weight)
    truth = data.truth.astype(np.int8) if data.target.kind == "multilabel" else data.truth.reshape(len(data))
    if data.target.kind == "multilabel" and data.target.outputs == 1:
        truth = truth[:, 0]
    weights = None if weights is None else weights.astype(np.float64)
    if not (_is_worth_workers(spec, data) and _fitted_on_workers(model, x, truth, weights, work.executor)):
        model.fit(x, truth, sample_weight=weights)
    if hasattr(model, "estimators_"):
        model.set_params(n_jobs=1)  # trees added up in parallel come in another order each time, which moves the last bits
    return Trees(model, data.target)


def _model(spec: TreeSpec | ForestSpec, target: Target, work: Work) -> Any:
    from sklearn import ensemble, tree

    settings = {
        "max_depth": spec.max_depth[0],
        "min_samples_leaf": spec.min_samples_leaf[0],
        "random_state": work.seed,
    }
    numbers = target.kind == "regression"
    if isinstance(spec, TreeSpec):
        return (tree.DecisionTreeRegressor if numbers else tree.DecisionTreeClassifier)(**settings)
    settings |= {"n_estimators": spec.trees[0], "n_jobs": _cores(work.executor)}
    if numbers:
        return ensemble.RandomForestRegressor(max_features=FEATURES_OF_A_SPLIT, **settings)
    return ensemble.RandomForestClassifier(**settings)


def _cores(executor: Executor) -> int:
    """Of this process: all of them while the workers wait for it."""
    return len(os.sched_getaffinity(0)) if isinstance(executor, DaskExecutor) else executor.threads


def _is_worth_workers(spec: TreeSpec | ForestSpec, data: TrainingData) -> bool:
    if isinstance(spec, TreeSpec):
        return False
    tried = data.width * FEATURES_OF_A_SPLIT if data.target.kind == "regression" else math.sqrt(data.width)
    return spec.trees[0] * len(data) * math.log2(len(data) + 1) * tried >= DISTRIBUTED_FROM


def _fitted_on_workers(model: Any, x: Features, truth: Any, weights: Any, executor: Executor) -> bool:
    """By joblib's Dask backend; False where there are no workers, or one was lost meanwhile."""
    if not isinstance(executor, DaskExecutor):
        return False
    import joblib

    client = executor.client

    def fit() -> None:
        with joblib.parallel_config(backend="dask", client=client, n_jobs=-1):
            model.fit(x, truth, sample_weight=weights)

    try:
        while_there(fit, list(workers_of(client)), client)
    except WorkerLostError:
        log.warning("A worker was lost while the forest was grown; it is grown in this process, which takes longer")
        return False
    return True
