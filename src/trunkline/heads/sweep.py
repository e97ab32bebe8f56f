"""A grid of candidates, each fitted once a fold on the training rows outside it and scored on those inside.

What is finished is kept in `work.log`, so that a sweep that was killed goes on with what is missing. A process works on one candidate at a
time, with all its cores, and keeps the training rows between them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from trunkline.fan_out import SerialExecutor
from trunkline.heads.folds import usable_folds
from trunkline.heads.held_out import scores_of
from trunkline.heads.protocol import Candidate, Features, Scores, Work
from trunkline.heads.readers import InMemory
from trunkline.heads.sampling import within
from trunkline.heads.training import TrainingData
from trunkline.progress import Step
from trunkline.specs import HeadBase

AnySpec = TypeVar("AnySpec", bound=HeadBase)


class Predictor(Protocol):
    """What a candidate's fit gives."""

    def outputs(self, features: Features) -> NDArray[np.float64]:
        """(n, kept) → (n, k)."""


FitOne = Callable[[Any, TrainingData, Work], Predictor]
ScoreAll = Callable[[Sequence[Any], TrainingData, int, Work], Sequence[Scores]]


@dataclass(frozen=True)
class Swept(Generic[AnySpec]):
    """The spec with one value a field; what was decided, ready to print; the grid; what to note."""

    spec: AnySpec
    chosen: Mapping[str, str]
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()


def best_of(spec: AnySpec, data: TrainingData, work: Work, fit_one: FitOne) -> Swept[AnySpec]:
    """The candidate with the highest mean score over the folds; of equals the one with the lower mean loss, then the first.

    A single candidate is taken as it is. Where the training rows do not fit into `work.memory`, a sample is cross-validated.

    Parameters
    ----------
    fit_one : at module level; fits one candidate on rows that it may hold in memory. `work.executor` is a serial loop there.
    """
    return _swept(spec, data, work, _Job(_fit_and_score, fit_one, work.seed, work.executor.threads, work.memory), False)


def best_at_once(spec: AnySpec, data: TrainingData, work: Work, score_all: ScoreAll) -> Swept[AnySpec]:
    """The same where all candidates of a fold are scored in one go.

    Parameters
    ----------
    score_all : at module level; of candidates, data and the fold that is held out; gives scores in the candidates' order.
    """
    return _swept(spec, data, work, _Job(score_all, None, work.seed, work.executor.threads, work.memory), True)


@dataclass(frozen=True)
class _Job:
    score: Callable[..., Sequence[Scores]]
    fit_one: FitOne | None
    seed: int
    threads: int
    memory: int


def _swept(spec: AnySpec, data: TrainingData, work: Work, job: _Job, together: bool) -> Swept[AnySpec]:
    candidates = list(spec.candidates())
    if len(candidates) == 1:
        return Swept(spec, {**_settings(spec, spec.SWEPT), "chosen by": "the only one"})
    some, notes = within(data, work.memory, work.seed, "Candidates were compared")
    folds = usable_folds(some.target, some.truth, spec.folds)  # type: ignore[attr-defined]
    if folds < 2:
        middle = spec.model_copy(update={name: (values[len(values) // 2],) for name, values in spec.axes.items()})
        how = "the middle one: no class has two images to cross-validate with"
        return Swept(middle, {**_settings(middle, spec.SWEPT), "chosen by": how})
    some = replace(some, folds=(some.folds % folds).astype(np.int8), executor=SerialExecutor(threads=job.threads))
    scores = _cross_validated(candidates, some, work, job, together)
    best = max(range(len(candidates)), key=lambda place: (_mean(scores[place], "score"), -_mean(scores[place], "loss")))
    table = tuple(
        Candidate(
            _settings(each, tuple(spec.axes)), _mean(scores[place], "score"), _spread(scores[place]), chosen=place == best
        )
        for place, each in enumerate(candidates)
    )
    chosen = {**_settings(candidates[best], spec.SWEPT), "chosen by": f"{folds}-fold cross-validation"}
    return Swept(candidates[best], chosen, table, notes)


def _cross_validated(
    candidates: Sequence[HeadBase], data: TrainingData, work: Work, job: _Job, together: bool
) -> list[list[Scores]]:
    """Scores of each candidate, fold by fold: those of an earlier try as they were kept, and what was missing."""
    folds = [int(fold) for fold in np.unique(data.folds)]
    keys = {(place, fold): key_of(each, fold) for place, each in enumerate(candidates) for fold in folds}
    found = {item: kept for item, key in keys.items() if (kept := work.log.get(key)) is not None}
    missing = [item for item in keys if item not in found]
    held: Any = work.executor.hold([data])[0] if missing else None
    groups = _groups(missing, together)
    items = [(held, tuple((place, candidates[place]) for place in places), fold) for places, fold in groups]
    try:
        _say(work, len(found), len(keys))
        for fold, places, scores in work.executor.map(_worked, job, items):
            for place, each in zip(places, scores, strict=True):
                work.log.put(keys[place, fold], each)
                found[place, fold] = each
            _say(work, len(found), len(keys))
    finally:
        if missing:
            work.executor.everywhere(_forget)
    return [[found[place, fold] for fold in folds] for place in range(len(candidates))]


def key_of(candidate: HeadBase, fold: int) -> str:
    """Under which its scores are kept; the log is bound to data and mask already."""
    return f"{candidate.kind}-{candidate.digest()}-{fold}"  # type: ignore[attr-defined]


def _groups(missing: Sequence[tuple[int, int]], together: bool) -> Iterator[tuple[tuple[int, ...], int]]:
    if not together:
        yield from (((place,), fold) for place, fold in missing)
        return
    for fold in sorted({fold for _, fold in missing}):
        yield tuple(place for place, own in missing if own == fold), fold


def _say(work: Work, done: int, total: int) -> None:
    work.progress(Step("fit", done, total, f"cross-validation: {done} of {total} fits"))


def _settings(spec: HeadBase, names: Sequence[str]) -> dict[str, str]:
    return {name.replace("_", " "): _said(getattr(spec, name)[0]) for name in names}


def _said(value: Any) -> str:
    if value is None:
        return "unlimited"
    if isinstance(value, tuple):
        return "-".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _mean(scores: Sequence[Scores], what: str) -> float:
    return round(float(np.mean([getattr(each, what) for each in scores])), 9)


def _spread(scores: Sequence[Scores]) -> float:
    return float(np.std([each.score for each in scores]))


# What this process keeps between candidates: the training rows.
_lock = threading.Lock()
_kept: dict[str, Features] = {}


def _worked(
    job: _Job, item: tuple[TrainingData, tuple[tuple[int, HeadBase], ...], int]
) -> tuple[int, tuple[int, ...], list[Scores]]:
    data, candidates, fold = item
    with _lock:
        work = Work(SerialExecutor(threads=job.threads), job.seed, memory=job.memory)
        arguments = () if job.fit_one is None else (job.fit_one,)
        scores = job.score([each for _, each in candidates], _in_memory(data, work), fold, work, *arguments)
    return fold, tuple(place for place, _ in candidates), list(scores)


def _in_memory(data: TrainingData, work: Work) -> TrainingData:
    """The same rows, read once by this process."""
    if data.token not in _kept:
        _kept.clear()
        _kept[data.token] = data.whole()
    reader = InMemory(_kept[data.token], data.token)
    places = np.arange(len(data), dtype=np.int64)
    return replace(data, reader=reader, columns=None, rows=places, standard=None, executor=work.executor, held_bytes=0)


def _fit_and_score(candidates: Sequence[Any], data: TrainingData, fold: int, work: Work, fit_one: FitOne) -> Sequence[Scores]:
    inside, outside = np.flatnonzero(data.folds != fold), data.subset(np.flatnonzero(data.folds == fold))
    training, held_out = data.subset(inside), outside.whole()
    return [scores_of(data.target, outside.truth, fit_one(each, training, work).outputs(held_out)) for each in candidates]


def _forget() -> None:
    with _lock:
        _kept.clear()
