"""k nearest neighbours in standardised features: blocks of queries against blocks of references, products of matrices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.heads.held_out import scores_of
from trunkline.heads.protocol import Candidate, Features, Scores, Work
from trunkline.heads.sampling import within
from trunkline.heads.standard import Standard
from trunkline.heads.sweep import best_at_once
from trunkline.heads.targets import Target, Truth
from trunkline.heads.training import TrainingData, standard_of
from trunkline.nearest import METRICS, QUERIES, Metric, nearest_of, unit
from trunkline.specs import NeighboursSpec

FILE = "neighbours.safetensors"


@dataclass(frozen=True)
class Neighbours:
    """The training rows themselves.

    Parameters
    ----------
    standard : mean and deviation of all training rows.
    references : (m, kept) float32, standardised; of length 1 each where the metric is cosine.
    truth : (m,) int64 class numbers, (m, k) float32 indicators of labels, or (m,) float64 values.
    k : so many of them vote, or all where there are fewer.
    """

    standard: Standard
    references: Features
    truth: Truth
    k: int
    metric: Metric
    target: Target
    chosen: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    candidates: Sequence[Candidate] = ()

    def outputs(self, features: Features) -> NDArray[np.float64]:
        """Shares of the votes of classes and labels; the mean of values."""
        if features.shape[1] != self.references.shape[1]:
            raise CorruptStore(
                f"The saved neighbours have {self.references.shape[1]} features and are asked about {features.shape[1]}: they belong "
                "to another mask. Delete the head: it is fitted again."
            )
        out = np.empty((len(features), self.target.outputs))
        for first in range(0, len(features), QUERIES):
            queries = prepared(features[first : first + QUERIES], self.standard, self.metric)
            nearest = nearest_of(queries, self.references, self.k, self.metric)
            out[first : first + QUERIES] = voted(self.truth[nearest], self.target)
        return out

    def files(self) -> dict[str, bytes]:
        from safetensors.numpy import save

        arrays = {"references": self.references, "truth": self.truth}
        arrays |= {"mean": self.standard.mean, "deviation": self.standard.deviation}
        said = json.dumps({"k": self.k, "metric": self.metric, "target": self.target.kind})  # several entries come in any order
        return {FILE: save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"head": said})}

    @classmethod
    def load(cls, files: Mapping[str, bytes], target: Target) -> Neighbours:
        """Raises CorruptStore for a file that holds something else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        content = files[FILE]
        try:
            arrays = load(content)
            said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            said = json.loads(said["head"])
            head = cls(
                Standard(arrays["mean"], arrays["deviation"]),
                arrays["references"],
                arrays["truth"],
                int(said["k"]),
                said["metric"],
                target,
            )
            _refuse_what_does_not_fit(head, said["target"])
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise CorruptStore(
                f"{FILE} of the saved head is damaged ({error}). Delete the head: it is fitted again."
            ) from error
        return head


def _refuse_what_does_not_fit(head: Neighbours, kind: str) -> None:
    """Raises ValueError."""
    rows, width = head.references.shape
    known = head.k >= 1 and head.metric in METRICS and kind == head.target.kind
    floats = (head.references, head.standard.mean, head.standard.deviation)
    if not known or not rows or any(each.dtype != np.float32 or not np.isfinite(each).all() for each in floats):
        raise ValueError("a setting or array that is none of such a head")
    if (
        head.standard.mean.shape != (width,)
        or head.standard.deviation.shape != (width,)
        or (head.standard.deviation <= 0).any()
    ):
        raise ValueError("arrays that do not fit together")
    shape = {"classes": (rows,), "multilabel": (rows, head.target.outputs), "regression": (rows,)}[head.target.kind]
    sound = head.truth.shape == shape and np.isfinite(head.truth).all()
    if sound and head.target.kind == "classes":
        sound = head.truth.dtype == np.int64 and head.truth.min() >= 0 and head.truth.max() < head.target.outputs
    if not sound:
        raise ValueError(f"truth that is none of {head.target.outputs} outputs")


def fit_neighbours(spec: NeighboursSpec, data: TrainingData, work: Work) -> Neighbours:
    """Choose k, with one search for all candidates; then keep all training rows, or a sample that fits into `work.memory`."""
    standard = data.standard or standard_of(data)
    swept = best_at_once(spec, data, work, _Search(standard, spec.metric))
    some, notes = within(data, work.memory, work.seed, "Neighbours are searched")
    references = prepared(some.whole(), None if data.standard else standard, spec.metric)
    k = swept.spec.k[0]
    if k > len(references):
        notes = (*notes, f"k is {k}, and there are only {len(references)} training images: all of them vote.")
    truth = some.truth.reshape(len(some)) if some.target.kind == "regression" else some.truth
    return Neighbours(
        standard, references, truth, k, spec.metric, data.target, swept.chosen, (*swept.notes, *notes), swept.candidates
    )


@dataclass(frozen=True)
class _Search:
    """Scores of every k on a fold, from one search among the rows outside it."""

    standard: Standard
    metric: Metric

    def __call__(self, candidates: Sequence[NeighboursSpec], data: TrainingData, fold: int, _: Work) -> Sequence[Scores]:
        inside, outside = np.flatnonzero(data.folds != fold), np.flatnonzero(data.folds == fold)
        references = prepared(data.subset(inside).whole(), self.standard, self.metric)
        truth, most = data.truth[inside], max(each.k[0] for each in candidates)
        found = [np.empty((len(outside), data.target.outputs)) for _ in candidates]
        for first in range(0, len(outside), QUERIES):
            some = slice(first, first + QUERIES)
            queries = prepared(data.subset(outside[some]).whole(), self.standard, self.metric)
            votes = truth[nearest_of(queries, references, most, self.metric)]
            for out, each in zip(found, candidates, strict=True):
                out[some] = voted(votes[:, : each.k[0]], data.target)
        return [scores_of(data.target, data.truth[outside], out) for out in found]


def prepared(features: Features, standard: Standard | None, metric: Metric) -> Features:
    """(n, kept) standardised, of length 1 each where the metric is cosine; a row that is zero all over stays so."""
    x = np.array(features, np.float32) if standard is None else standard(features)
    return unit(x) if metric == "cosine" else x


def voted(votes: Any, target: Target) -> NDArray[np.float64]:
    """(n, j) classes or values, or (n, j, k) indicators of the neighbours → (n, k)."""
    if target.kind == "classes":
        rows, k = votes.shape
        flat = votes + np.arange(rows)[:, None] * target.outputs
        return np.asarray(np.bincount(flat.ravel(), minlength=rows * target.outputs).reshape(rows, -1) / k)
    return np.asarray(votes.mean(axis=1, dtype=np.float64)).reshape(len(votes), target.outputs)
